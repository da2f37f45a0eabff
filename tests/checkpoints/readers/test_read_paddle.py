"""Files that the real Paddle wrote, against what it reads from them itself."""

import importlib.util
import runpy
from pathlib import Path

import numpy as np
import pytest

from dolg_zoo.weights import CheckpointError, read_state_dict

SCRIPT = runpy.run_path(str(Path(__file__).with_name("write_paddle.py")))


@pytest.fixture(scope="module")
def folder(tmp_path_factory, run_script):
    if importlib.util.find_spec("paddle") is None:
        pytest.skip("needs paddle, in a process of its own")
    folder = tmp_path_factory.mktemp("paddle")
    run_script("write_paddle.py", folder)
    return folder


@pytest.mark.parametrize("file", SCRIPT["FILES"])
def test_arrays_are_those_that_paddle_reads(folder, file):
    with np.load(folder / "expected.npz") as arrays:
        keys = [key for key in arrays.files if key.startswith(f"{file}:")]
        theirs = {key.removeprefix(f"{file}:"): arrays[key] for key in keys}
    ours = read_state_dict(folder / file)
    assert list(ours) == list(theirs)
    for name, array in theirs.items():
        np.testing.assert_array_equal(ours[name], array, strict=True)
        assert not ours[name].flags.writeable


def test_the_files_in_chunks_are_indeed(folder):
    assert b"UnpackBigParamInfor@@" in (folder / "chunks2").read_bytes()
    assert b"UnpackBigParamInfor@@" not in (folder / "layer2").read_bytes()


@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_are_mapped_from_the_file_where_it_holds_their_bytes(folder, protocol):
    arrays = read_state_dict(folder / f"layer{protocol}")
    assert all(isinstance(array.base, np.memmap) for array in arrays.values())


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_arrays_in_column_order_keep_their_shape(read, handmade, rng, protocol):
    array = np.asfortranarray(rng.normal(size=(3, 5)))
    [found] = read(handmade.paddle({"x": array}, protocol)).values()
    np.testing.assert_array_equal(found, array, strict=True)


@pytest.mark.parametrize("size", [100_000, 3_000_000])
def test_long_arrays_of_protocol_2_are_decoded_from_their_text(read, handmade, rng, size):
    array = rng.integers(0, 256, size, dtype=np.uint8)
    [found] = read(handmade.paddle({"x": array})).values()
    np.testing.assert_array_equal(found, array, strict=True)


@pytest.mark.parametrize(
    "array", [np.array([None]), np.array(["a"]), np.array(["2020"], "M8[D]"), np.zeros(2, "i4,f4")]
)
def test_arrays_of_other_things_than_numbers_are_refused(refusal, handmade, array):
    assert "holds an array of the type" in refusal(handmade.paddle({"x": array}, 4))


@pytest.mark.parametrize("size", [5, 7])
def test_an_array_has_as_many_bytes_as_its_shape_says(refusal, handmade, size):
    data = handmade.paddle({"x": np.zeros(6, "i1")}, 4)
    assert data.count(b"K\x06\x85") == 1
    changed = data.replace(b"K\x06\x85", bytes([75, size, 0x85]))
    assert f"6 bytes for an array of int8 and the shape ({size},)" in refusal(changed)


def test_the_same_bytes_cannot_be_asked_for_again_and_again(refusal, handmade):
    noted = handmade.text("x" * 999) + b"q\x01"
    encode = handmade.call(handmade.name("_codecs", "encode"), b"h\x01", handmade.text("latin1"))
    data = handmade.program(noted, handmade.row(*[encode] * 99), b"\x86")
    assert "more than once" in refusal(data)


@pytest.mark.parametrize(
    "plan, reason",
    [
        ({"OriginShape": (2, 2), "slices": ["x@@.0", "x@@.0"]}, "no chunk 'x@@.0'"),
        ({"OriginShape": (2, 2), "slices": ["x@@.0", 3]}, "no chunk 3"),
        ({"OriginShape": (2, 2), "slices": ["x@@.0"]}, "do not fill its shape"),
        ({"OriginShape": (2, 2), "slices": ["x@@.0", "x@@.2"]}, "do not go together"),
        ({"OriginShape": (2, 2), "slices": []}, "does not list the chunks"),
        (5, "does not list the chunks"),
    ],
)
def test_chunks_that_do_not_go_together_are_refused(refusal, handmade, plan, reason):
    chunks = {f"x@@.{i}": np.zeros(2, dtype) for i, dtype in enumerate(("f4", "f4", "f8"))}
    data = handmade.paddle(chunks | {"UnpackBigParamInfor@@": {"x": plan}})
    assert reason in refusal(data)


def test_a_chunk_is_joined_once_under_however_many_names(refusal, handmade):
    chunk = np.zeros(100)
    plans = {
        name: {"OriginShape": (400,), "slices": [f"{name}{i}" for i in range(4)]} for name in "ab"
    }
    chunks = {part: chunk for plan in plans.values() for part in plan["slices"]}
    data = handmade.paddle(chunks | {"UnpackBigParamInfor@@": plans}, 4)
    assert "more than once" in refusal(data)


def test_a_state_dict_with_something_else_in_it_is_refused_by_its_name(tmp_path, handmade):
    path = tmp_path / "x.pdparams"
    path.write_bytes(handmade.paddle({"kernel": np.zeros(2), "depth": 50}))
    with pytest.raises(CheckpointError, match=r"50 instead of a tensor under 'depth'"):
        read_state_dict(path)
