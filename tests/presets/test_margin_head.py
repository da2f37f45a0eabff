"""The head that a preset was trained under, from a folder that may be damaged or hostile."""

import io
import os
import shutil
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from preset_files import edit, flip_a_byte, forget_hashes

from dolg_zoo.checkpoints.porting import MarginHead
from dolg_zoo.embedders.dolg import DOLG
from dolg_zoo.layers import ArcFace, CosineSoftmax, CurricularFace, SubCenterArcFace
from dolg_zoo.presets import (
    PresetError,
    margin_head,
    margin_head_of,
    read_margin_head,
    read_preset,
    write_preset,
)

CLASSES, DIM = 5, 6  # DIM is that of the preset of conftest.py


@pytest.fixture(scope="module")
def arrays():
    centers = np.random.default_rng(0).standard_normal((CLASSES, DIM)).astype("float32")
    return {"centers": centers, "t": np.array(0.25, "float32")}


@pytest.fixture(scope="module")
def written_with(new_preset, tmp_path_factory):
    """Writes a preset with a head, for tests to copy."""

    def write(head):
        folder = tmp_path_factory.mktemp("written") / "preset"
        write_preset(folder, new_preset(), head)
        return folder

    return write


@pytest.fixture(scope="module")
def written_with_head(written_with, arrays):
    return written_with(MarginHead("CurricularFace", 30.0, 0.15, arrays))


@pytest.fixture
def with_head(written_with_head, tmp_path):
    """A preset folder with a head."""
    return Path(shutil.copytree(written_with_head, tmp_path / "with_head"))


@pytest.fixture(scope="module")
def written_with_sub_centers(written_with):
    return written_with(margin_head_of(built(SubCenterArcFace(CLASSES, centers_per_class=2))))


@pytest.fixture
def with_sub_centers(written_with_sub_centers, tmp_path):
    """A preset folder with a head of two centers a class."""
    return Path(shutil.copytree(written_with_sub_centers, tmp_path / "with_sub_centers"))


def built(layer):
    layer.build((None, DIM))
    return layer


def describe(folder, **changes):
    """Changes what config.json says of the head, and has the hashes forgotten."""
    edit(folder, "config.json", lambda config: config["margin_head"].update(changes))


def store(folder, arrays, compression=zipfile.ZIP_STORED):
    """Puts other arrays in the head's place; one that is given as bytes is taken as it is."""
    forget_hashes(folder)
    with zipfile.ZipFile(folder / "margin_head.npz", "w", compression) as archive:
        for name, array in arrays.items():
            content = array
            if not isinstance(array, bytes):
                buffer = io.BytesIO()
                np.save(buffer, array)
                content = buffer.getvalue()
            archive.writestr(f"{name}.npy", content)


def npy(shape, content=b""):
    """A file of NumPy's that says it holds float32 of a shape, and holds `content`."""
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + content


# what is written is what is read


@pytest.mark.parametrize("read", ["read_margin_head", "load_margin_head"])
def test_comes_back_bit_for_bit(read, with_head, arrays):
    if read == "read_margin_head":
        layer = read_margin_head(with_head)
    else:
        layer = DOLG.from_preset(with_head).load_margin_head()
    assert type(layer) is CurricularFace
    assert (layer.num_classes, layer.scale, layer.margin) == (CLASSES, 30.0, 0.15)
    assert np.array_equal(layer.centers, arrays["centers"])
    assert np.array_equal(layer.t, arrays["t"])


@pytest.mark.parametrize(
    ("head", "settings"),
    [
        (ArcFace, {"scale": 64.0, "margin": 0.5}),
        (SubCenterArcFace, {"scale": 20.0, "margin": 0.3, "centers_per_class": 2}),
        (CosineSoftmax, {"scale": 12.0}),
    ],
)
def test_each_kind_of_head_comes_back_bit_for_bit(preset, tmp_path, rng, head, settings):
    layer = built(head(CLASSES, **settings))
    if head is SubCenterArcFace:
        layer.set_margins(rng.uniform(0.1, 0.5, CLASSES))
    write_preset(tmp_path, preset, margin_head_of(layer))
    back = read_margin_head(tmp_path)
    assert type(back) is head and back.num_classes == CLASSES
    assert {name: getattr(back, name) for name in settings} == settings
    for ours, theirs in zip(back.weights, layer.weights, strict=True):
        assert ours.name == theirs.name and np.array_equal(ours, theirs)


@pytest.mark.parametrize("dtype", ["float16", ml_dtypes.bfloat16, "float64"])
def test_centers_of_another_precision_come_back_with_their_values(preset, arrays, tmp_path, dtype):
    centers = arrays["centers"].astype(dtype)
    write_preset(tmp_path, preset, MarginHead("ArcFace", 30.0, 0.15, {"centers": centers}))
    assert np.array_equal(read_margin_head(tmp_path).centers, centers.astype("float32"))


def test_the_logits_are_those_of_the_head(with_head, arrays, rng):
    descriptors = rng.standard_normal((3, DIM)).astype("float32")
    unit = descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)
    centers = arrays["centers"] / np.linalg.norm(arrays["centers"], axis=1, keepdims=True)
    logits = read_margin_head(with_head)(descriptors)
    assert np.allclose(logits, 30 * unit @ centers.T, atol=1e-5)


def test_overwritten_without_a_head_it_is_gone(preset, with_head):
    write_preset(with_head, preset)
    assert not (with_head / "margin_head.npz").exists()
    with pytest.raises(PresetError, match="keeps no margin head"):
        read_margin_head(with_head)


def test_the_network_is_read_without_the_head(preset, with_head):
    (with_head / "margin_head.npz").unlink()
    assert np.array_equal(read_preset(with_head).net.weights[0], preset.net.weights[0])


# who has none


def test_a_model_of_no_preset_has_no_head(preset):
    model = DOLG(preset.net, preset.image_converter, preset.metadata)
    with pytest.raises(PresetError, match="not loaded from a preset"):
        model.load_margin_head()


def test_a_preset_without_a_head_says_so(folder):
    with pytest.raises(PresetError, match=r"keeps no margin head.*CurricularFace"):
        DOLG.from_preset(folder).load_margin_head()


# a folder that is damaged, or hostile


@pytest.mark.parametrize("place", [0.2, 0.5, 0.9])
def test_a_flipped_byte_is_found_out_by_its_hash(with_head, place):
    flip_a_byte(with_head / "margin_head.npz", place)
    with pytest.raises(PresetError, match=r"margin_head\.npz is not the file that metadata\.json"):
        read_margin_head(with_head)


def test_a_missing_file_is_named(with_head):
    (with_head / "margin_head.npz").unlink()
    with pytest.raises(PresetError, match=r"margin_head\.npz .*missing"):
        read_margin_head(with_head)


@pytest.mark.parametrize("kind", ["gone", "pipe", "empty", "truncated", "text", "array"])
def test_a_file_that_is_none_of_ours_is_named(with_head, arrays, kind):
    forget_hashes(with_head)
    path = with_head / "margin_head.npz"
    content = path.read_bytes()
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "array":
        with path.open("wb") as file:
            np.save(file, arrays["centers"])
    elif kind != "gone":
        path.write_bytes({"empty": b"", "truncated": content[:-40], "text": b"centers"}[kind])
    with pytest.raises(PresetError, match=r"margin_head\.npz"):
        read_margin_head(with_head)


class Intruder:
    def __init__(self, trace):
        self.trace = trace

    def __reduce__(self):
        return open, (str(self.trace), "w")


def test_nothing_in_it_is_executed(with_head, arrays, tmp_path):
    trap = np.empty((CLASSES, DIM), object)
    trap[0, 0] = Intruder(tmp_path / "trace")
    store(with_head, arrays | {"centers": trap})
    with pytest.raises(PresetError, match=r"margin_head\.npz cannot be read"):
        read_margin_head(with_head)
    assert not (tmp_path / "trace").exists()
    with np.load(with_head / "margin_head.npz", allow_pickle=True) as file:
        file["centers"]
    assert (tmp_path / "trace").exists()  # the trap works


@pytest.mark.parametrize(
    "changes",
    [
        {"t": None},
        {"centers": None},
        {"more": np.zeros(1)},
        {"../centers": np.zeros(1)},
        {"centers": np.zeros((CLASSES, DIM + 1), "float32")},
        {"centers": np.zeros((CLASSES * DIM,), "float32")},
        {"t": np.zeros(2, "float32")},
        {"centers": np.full((CLASSES, DIM), np.nan, "float32")},
        {"t": np.array(np.inf, "float32")},
        {"centers": np.full((CLASSES, DIM), "0.5")},
        {"centers": np.full((CLASSES, DIM), 0.5, "float64")},
        {"centers": b"no array"},
        {"centers": npy((2**40, 2**10))},
        {"centers": npy((CLASSES, DIM), b"\0" * (4 * CLASSES * DIM - 1))},
        {"centers": npy((-CLASSES, -DIM), b"\0" * (4 * CLASSES * DIM))},
    ],
)
def test_refuses_other_arrays(with_head, arrays, changes):
    given = {name: array for name, array in (arrays | changes).items() if array is not None}
    store(with_head, given)
    with pytest.raises(PresetError, match=r"margin_head\.npz cannot be read"):
        read_margin_head(with_head)


def test_refuses_margins_that_are_no_angles(with_sub_centers):
    with np.load(with_sub_centers / "margin_head.npz") as file:
        arrays = dict(file)
    store(with_sub_centers, arrays | {"margins": np.full(CLASSES, 2, "float32")})
    with pytest.raises(PresetError, match=r"margin_head\.npz cannot be read.*margins must be"):
        read_margin_head(with_sub_centers)


@pytest.mark.parametrize("size", [0, -2, True, 2.0, "2", None, 2**11, 2**62])
def test_names_a_wrong_number_of_centers_a_class(with_sub_centers, size):
    describe(with_sub_centers, centers_per_class=size)
    with pytest.raises(PresetError, match=r"config\.json.*margin_head"):
        read_margin_head(with_sub_centers)


@pytest.mark.parametrize(
    "changes",
    [
        {"layer": "Dense"},
        {"layer": "__class__"},
        {"layer": ["ArcFace"]},
        {"num_classes": 0},
        {"num_classes": True},
        {"num_classes": 5.0},
        {"num_classes": 2**40},
        {"dim": 2**40},
        {"dim": -1},
        {"scale": -1},
        {"scale": "30"},
        {"scale": float("nan")},
        {"scale": 10**400},
        {"margin": 2},
        {"margin": None},
        {"margin": float("nan")},
        {"momentum": 0.5},
        {"centers_per_class": 3},
        {"layer": "CosineSoftmax"},
        {"layer": "SubCenterArcFace"},
    ],
)
def test_names_a_wrong_description(with_head, changes):
    describe(with_head, **changes)
    with pytest.raises(PresetError, match=r"config\.json.*(margin_head|NaN)"):
        read_margin_head(with_head)


@pytest.mark.parametrize("described", [None, [], "ArcFace", {}, {"layer": "ArcFace"}])
def test_names_a_description_that_is_none(with_head, described):
    edit(with_head, "config.json", lambda config: config.update(margin_head=described))
    with pytest.raises(PresetError, match=r"config\.json.*margin_head"):
        read_margin_head(with_head)


@pytest.fixture
def taking_memory(monkeypatch):
    """The sizes of the layers that are built, which is when they take their memory."""
    layers = []
    add_centers = ArcFace.add_centers

    def adding(self, rows, dim):
        layers.append((rows, dim))
        add_centers(self, rows, dim)

    monkeypatch.setattr(ArcFace.__base__, "add_centers", adding)
    return layers


@pytest.mark.parametrize("classes", [CLASSES + 10**4, margin_head.MAX_SIZES["num_classes"]])
def test_a_declared_size_is_refused_before_it_takes_memory(with_head, classes, taking_memory):
    """The largest that may be declared is 1 TiB; a file of that size is not here."""
    describe(with_head, num_classes=classes, dim=2**14)
    with pytest.raises(PresetError, match=rf"margin_head\.npz .*{classes}"):
        read_margin_head(with_head)
    assert taking_memory == []


def test_centers_are_refused_by_how_many_a_class_has(with_sub_centers, taking_memory):
    describe(with_sub_centers, centers_per_class=2**10)
    with pytest.raises(
        PresetError, match=rf"too few for centers of shape .*{CLASSES}, 1024, {DIM}"
    ):
        read_margin_head(with_sub_centers)
    assert taking_memory == []


def test_zeros_that_were_packed_small_are_not_unpacked(with_head, arrays):
    """DEFLATE packs zeros a thousandfold, so the file's size says nothing of what it holds."""
    zeros = arrays | {"centers": np.zeros((10**5, DIM), "float32")}
    store(with_head, zeros, zipfile.ZIP_DEFLATED)
    with pytest.raises(PresetError, match=r"margin_head\.npz .* compressed"):
        read_margin_head(with_head)
