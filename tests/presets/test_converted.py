"""Presets that are made from an upstream's file: what is made, and what is kept of it.

The checkpoint is that of the official R50, its parameters by the golden rule. What concerns the
keeping alone is shown on a small network, as if that had been in the checkpoint.
"""

import errno
import hashlib
import json
import os
import pwd
import shutil
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from preset_files import flip_a_byte

from dolg_zoo import DOLG
from dolg_zoo.checkpoints.porting import MarginHead
from dolg_zoo.presets import PresetError, origins, preset_names, registry
from dolg_zoo.presets import conversion as converted
from dolg_zoo.presets.conversion import Conversion
from dolg_zoo.weights import (
    CheckpointEntry,
    CheckpointError,
    DownloadError,
    Manifest,
    RemoteFile,
    conversion_cache,
)
from dolg_zoo.weights.conversion_cache import conversion_folder
from dolg_zoo.weights.manifest import Figure

safetensors = pytest.importorskip("safetensors.numpy")

NAME = "dolg_resnet50_gldv2"
FILES = ["config.json", "margin_head.npz", "metadata.json", "model.weights.h5", "preprocessor.json"]
ENTRY = CheckpointEntry(
    name=NAME,
    description="a test",
    architecture="resnet50",
    descriptor_dim=512,
    dataset="GLDv2-clean",
    file=RemoteFile("someone/dolg", "a" * 40, "r50.safetensors", 1, "b" * 64),
    format="official_pytorch",
    license="MIT",
    license_note="as their code",
    provenance="a third party's upload",
    figures=(Figure(81.2, "mAP %", "ROxford medium", "a README"),),
    figures_note="the training set overlaps the test landmarks",
)


@pytest.fixture(scope="module")
def state(golden):
    """The official R50 with 20 classes instead of 1000."""
    keys = golden.read("official_pytorch_keys")["r50"] | {"desc_cls.weight": [20, 512]}
    return {
        key: np.zeros(shape, "int64") if key.endswith("tracked") else golden.fill(key, shape)
        for key, shape in keys.items()
    }


@pytest.fixture(scope="module")
def checkpoint(state, tmp_path_factory):
    path = tmp_path_factory.mktemp("hub") / "r50.safetensors"
    safetensors.save_file(state, path)
    yield path
    path.unlink()


@pytest.fixture
def manifest(monkeypatch):
    """Has the list of weights hold a checkpoint; returns what puts another in its place."""

    def put(entry):
        listed = Manifest({}, {entry.name: entry})
        monkeypatch.setattr(registry, "load_manifest", lambda: listed)

    put(ENTRY)
    return put


@pytest.fixture
def hub(manifest, monkeypatch):
    """The files that were asked for; `hub.file` is what each request gets, or the error."""

    class Hub(list):
        file = None

        def fetch(self, file, preset=None):
            self.append(file.path)
            if isinstance(self.file, Exception):
                raise self.file
            return self.file

    hub = Hub()
    monkeypatch.setattr(origins, "fetch", hub.fetch)
    return hub


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder that conversions are kept in, and one for what cannot be kept."""
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    monkeypatch.setattr(conversion_cache, "TEMPORARY", {})
    monkeypatch.setattr(converted, "TEMPORARY", conversion_cache.TEMPORARY)
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def kept_once(checkpoint, tmp_path_factory):
    """A cache with the conversion of the R50, and the model that came of it."""
    folder = tmp_path_factory.mktemp("kept")
    entry = replace(ENTRY, file=replace(ENTRY.file, sha256=sha256_of(checkpoint)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOLG_ZOO_CACHE", str(folder))
        patch.setattr(origins, "fetch", lambda file, preset: checkpoint)
        patch.setattr(registry, "load_manifest", lambda: Manifest({}, {NAME: entry}))
        model = DOLG.from_preset(NAME)
    yield entry, folder, model
    shutil.rmtree(folder)
    keras.backend.clear_session()


@pytest.fixture
def model(kept_once, manifest, hub, monkeypatch):
    """That model, with its cache in force, and nothing to be had from the Hub."""
    entry, folder, model = kept_once
    manifest(entry)
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(folder))
    hub.file = DownloadError("there is no network")
    return model


@pytest.fixture
def small(preset, hub, cache, manifest, monkeypatch, rng):
    """Has the checkpoint be that of a small network with a head; the centers of that."""
    manifest(replace(ENTRY, architecture=None))
    centers = rng.standard_normal((5, 6)).astype("float32")
    head = MarginHead("ArcFace", 30.0, 0.15, {"centers": centers})
    hub.file = Path("small.pt")

    def convert(path, format, metadata):
        return Conversion(replace(preset, metadata=metadata), head, 7)

    monkeypatch.setattr(converted, "convert_checkpoint", convert)
    return centers


def sha256_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def kept_in(cache, entry=ENTRY):
    """The one folder of a cache."""
    (folder,) = (cache / "converted").iterdir()
    assert folder.name.startswith(entry.file.sha256)
    return folder


# what is made of a checkpoint


def test_the_result_lies_under_the_checkpoints_hash_and_is_loaded_from_there(
    model, kept_once, hub, state
):
    entry, folder, _ = kept_once
    assert files_below(kept_in(folder, entry)) == FILES
    copy = DOLG.from_preset(NAME)
    assert all(np.array_equal(a, b) for a, b in zip(model.weights, copy.weights, strict=True))
    head = model.load_margin_head()
    assert type(head).__name__ == "CurricularFace"
    assert np.array_equal(head.centers, state["desc_cls.weight"])
    assert hub == []


def test_the_metadata_says_where_all_of_it_is_from(model, kept_once):
    entry = kept_once[0]
    metadata = model.metadata
    assert metadata.pop("preset") == metadata.pop("name") == NAME
    assert set(metadata.pop("sha256")) == set(FILES) - {"metadata.json"}
    assert metadata == {
        "description": "a test",
        "dataset": "GLDv2-clean",
        "license": "MIT",
        "license_note": "as their code",
        "provenance": "a third party's upload",
        "source": {
            "repo": "someone/dolg",
            "revision": "a" * 40,
            "path": "r50.safetensors",
            "size": 1,
            "sha256": entry.file.sha256,
        },
        "figures": [
            {
                "value": 81.2,
                "metric": "mAP %",
                "dataset": "ROxford medium",
                "source": "a README",
                "note": "",
            }
        ],
        "figures_note": "the training set overlaps the test landmarks",
    }


def test_images_enter_as_upstream_has_them_enter(model, kept_once):
    folder = kept_in(kept_once[1], kept_once[0])
    assert json.loads((folder / "preprocessor.json").read_text()) == {
        "size": 1024,
        "mode": "max_side",
        "multiple_of": 1,
        "interpolation": "bilinear",
        "antialias": False,
        "scales": [0.3535, 0.5, 0.7071, 1.0, 1.4142],
        "crop_queries": True,
    }
    config = json.loads((folder / "config.json").read_text())["dolg"]
    assert (config["mean"], config["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


def test_a_model_saved_from_it_claims_no_figures(model, tmp_path):
    model.save_to_preset(tmp_path)
    metadata = json.loads((tmp_path / "metadata.json").read_text())
    assert metadata["derived_from"] == NAME
    assert not {"figures", "figures_note", "source", "preset"} & set(metadata)
    assert not (tmp_path / "margin_head.npz").exists()


# what is no such checkpoint


NOT_FINITE = np.full(64, np.nan, "float32")


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"localmodel.strange": np.zeros(3, "float32")}, r"localmodel\.strange \(3,\)"),
        ({"desc_cls.weight": np.zeros((20, 9), "float32")}, r"desc_cls\.weight"),
        ({"globalmodel.s1.b4.f.a.weight": np.zeros(1, "float32")}, r"\(4, 4, 6, 3\) blocks"),
        ({"globalmodel.stem.bn.running_mean": NOT_FINITE}, ": stem_bn/moving_mean .*finite"),
        (None, r"none of its keys begins like 'globalmodel.s1.b1.'"),
    ],
)
def test_another_network_is_named_with_the_difference(
    change, difference, state, hub, cache, tmp_path
):
    hub.file = tmp_path / "other.safetensors"
    other = {"w": np.zeros(1, "float32")} if change is None else state | change
    safetensors.save_file(other, hub.file)
    kind = "" if "finite" in difference else " is no official_pytorch.*"
    with pytest.raises(PresetError, match=rf"other\.safetensors{kind}{difference}"):
        DOLG.from_preset(NAME)
    assert not cache.exists()


def test_another_backbone_than_the_lists_is_named(checkpoint, manifest, hub, cache):
    manifest(replace(ENTRY, name="dolg_resnet101_gldv2", architecture="resnet101"))
    hub.file = checkpoint
    with pytest.raises(PresetError, match=r"r50\.safetensors .*dolg_resnet101.* resnet50"):
        DOLG.from_preset("dolg_resnet101_gldv2")
    assert not cache.exists()


def test_a_file_that_is_no_checkpoint_is_named(hub, cache, tmp_path):
    hub.file = tmp_path / "page.pt"
    hub.file.write_text("<html>")
    with pytest.raises(CheckpointError, match=r"page\.pt"):
        DOLG.from_preset(NAME)
    assert not cache.exists()


# what is kept


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (flip_a_byte, "config.json"),
        (flip_a_byte, "model.weights.h5"),
        (truncate, "metadata.json"),
        (truncate, "margin_head.npz"),
        (Path.unlink, "metadata.json"),
        (Path.unlink, "preprocessor.json"),
    ],
)
def test_a_damaged_result_is_made_anew(damage, name, small, hub, cache, caplog):
    whole = DOLG.from_preset(NAME)
    folder = kept_in(cache)
    damage(folder / name)
    hub.clear()

    model = DOLG.from_preset(NAME)
    head = model.load_margin_head()

    assert all(np.array_equal(a, b) for a, b in zip(whole.weights, model.weights, strict=True))
    assert np.array_equal(head.centers, small)
    assert hub == [ENTRY.file.path]
    if (damage, name) != (Path.unlink, "metadata.json"):  # without it there is nothing yet
        assert f"Converting {NAME} again: " in caplog.text
        assert name in caplog.text
    assert kept_in(cache) == folder
    assert files_below(folder) == FILES
    caplog.clear()
    DOLG.from_preset(NAME).load_margin_head()
    assert caplog.text == ""


def a_file(monkeypatch, tmp_path):
    (tmp_path / "cache").write_text("")


def no_right_to_look(monkeypatch, tmp_path):
    # Path.is_file raises for this as it does for a folder of another user
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path / ("long" * 100)))


def no_home(monkeypatch, tmp_path):
    def unknown(uid):
        raise KeyError(uid)

    for name in ("DOLG_ZOO_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def full_disk(monkeypatch, tmp_path):
    def write(folder, *arguments):
        if Path(folder).is_relative_to(tmp_path / "cache"):
            Path(folder).mkdir()
            Path(folder, "model.weights.h5").write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        return write_preset(folder, *arguments)

    write_preset = converted.write_preset
    monkeypatch.setattr(converted, "write_preset", write)


@pytest.mark.parametrize("trouble", [a_file, no_right_to_look, no_home, full_disk])
def test_what_cannot_be_kept_works_all_the_same(trouble, small, hub, tmp_path, monkeypatch, caplog):
    trouble(monkeypatch, tmp_path)

    model = DOLG.from_preset(NAME)
    heads = [model.load_margin_head() for _ in range(2)]

    assert NAME in caplog.text
    assert "cannot be cached" in caplog.text
    assert "DOLG_ZOO_CACHE" in caplog.text
    assert np.isfinite(model(np.zeros((1, 64, 64, 3), "uint8"))).all()
    assert all(np.array_equal(head.centers, small) for head in heads)
    assert len(caplog.records) == len(hub) == 1  # in one process, once is enough
    assert len(list((tmp_path / "scratch").iterdir())) == 1
    if trouble is full_disk:
        assert list((tmp_path / "cache" / "converted").iterdir()) == []


def test_what_could_not_be_kept_goes_with_the_process(small, cache, tmp_path, monkeypatch):
    a_file(monkeypatch, tmp_path)
    at_exit = []
    monkeypatch.setattr(
        converted.atexit, "register", lambda *call, **more: at_exit.append((call, more))
    )
    DOLG.from_preset(NAME)
    (((remove, folder), options),) = at_exit
    remove(folder, **options)
    assert list((tmp_path / "scratch").iterdir()) == []
    # and should something else have removed it, it is made again
    assert np.array_equal(registry.load_margin_head(NAME).centers, small)


def test_what_a_killed_process_left_is_not_believed(small, hub, cache, monkeypatch):
    """A process that is killed cannot clean up after itself."""
    monkeypatch.setattr(converted.shutil, "rmtree", lambda *_, **__: None)
    write_preset = converted.write_preset

    def die(folder, *arguments):
        write_preset(folder, *arguments)
        flip_a_byte(folder / "model.weights.h5")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(converted, "write_preset", die)
        DOLG.from_preset(NAME)
    assert len(files_below(cache)) == len(FILES)
    hub.clear()
    DOLG.from_preset(NAME)
    assert len(hub) == 1


def test_threads_at_once_end_in_one_folder(small, hub, cache, monkeypatch, caplog):
    together = threading.Barrier(4, timeout=60)
    write_preset = converted.write_preset

    def write(*arguments):
        written = write_preset(*arguments)
        together.wait()  # and only then to its place
        return written

    monkeypatch.setattr(converted, "write_preset", write)
    heads = []
    threads = [
        threading.Thread(target=lambda: heads.append(registry.load_margin_head(NAME)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hub) == len(heads) == 4
    assert all(np.array_equal(head.centers, small) for head in heads)
    assert "cannot be cached" not in caplog.text
    assert files_below(kept_in(cache)) == FILES


def test_what_a_faster_process_kept_stays(small, cache, monkeypatch, caplog):
    write_preset, place = converted.write_preset, conversion_folder(ENTRY)
    theirs = []

    def write(folder, *arguments):
        write_preset(place, *arguments)
        theirs.append(place.stat().st_ino)
        return write_preset(folder, *arguments)

    monkeypatch.setattr(converted, "write_preset", write)
    DOLG.from_preset(NAME)
    assert caplog.text == ""
    assert [kept_in(cache).stat().st_ino] == theirs  # which another may be reading
    assert files_below(place) == FILES


def test_a_dtype_that_is_asked_for_does_not_reach_what_is_kept(small, cache, monkeypatch):
    convert, policies = converted.convert_checkpoint, []

    def recorded(*arguments):
        policies.append(keras.config.dtype_policy().name)
        return convert(*arguments)

    monkeypatch.setattr(converted, "convert_checkpoint", recorded)
    halved = DOLG.from_preset(NAME, dtype="float16")
    assert policies == ["float32"]
    assert "float16" in {weight.dtype for weight in halved.net.weights}
    assert halved.metadata["description"] == ENTRY.description
    assert {weight.dtype for weight in DOLG.from_preset(NAME).net.weights} == {"float32"}
    assert policies == ["float32"]


def test_it_is_listed_without_being_fetched(hub, cache):
    assert preset_names() == [NAME]
    assert registry.preset_tags("resnet50") == ["gldv2"]
    assert hub == []
    hub.file = DownloadError("there is no network")
    with pytest.raises(DownloadError, match="there is no network"):
        DOLG.from_preset(NAME)
