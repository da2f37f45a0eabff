"""Files that the real PyTorch wrote, against what it reads from them itself."""

import importlib.util
import runpy
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from dolg_zoo.weights import CheckpointError, read_state_dict

if importlib.util.find_spec("torch") is None:
    pytest.skip("needs torch, in a process of its own", allow_module_level=True)

SCRIPT = runpy.run_path(str(Path(__file__).with_name("write_torch.py")))
FILES = [f"{case}.zip.pt" for case in SCRIPT["CASES"]]
FILES += [f"{case}.stream.pt" for case in SCRIPT["CASES"] if case not in SCRIPT["NOT_STREAMED"]]
# the others are of protocol 2, PyTorch's own choice
FILES += [f"protocol{p}.{kind}.pt" for p in (3, 4) for kind in ("zip", "stream")]
FILES += ["no_checksums.zip.pt"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, run_script):
    folder = tmp_path_factory.mktemp("torch")
    run_script("write_torch.py", folder)
    return folder


@pytest.fixture(scope="module")
def expected(folder):
    with np.load(folder / "expected.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


@pytest.mark.parametrize("file", FILES)
def test_tensors_are_those_that_pytorch_reads(folder, expected, file):
    theirs = {}
    for key, array in expected.items():
        of_file, name, dtype = key.split(":")
        if of_file == file:
            theirs[name] = dtype, array
    ours = read_state_dict(folder / file)
    assert list(ours) == list(theirs)
    for name, (dtype, array) in theirs.items():
        kind = (
            np.bool_ if dtype == "bool" else getattr(np, dtype, None) or getattr(ml_dtypes, dtype)
        )
        assert ours[name].dtype == kind
        np.testing.assert_array_equal(ours[name].view(array.dtype), array, strict=True)


@pytest.mark.parametrize("file", ["plain.zip.pt", "plain.stream.pt", "views.zip.pt"])
def test_arrays_are_read_only_views_of_the_mapped_file(folder, file):
    for array in read_state_dict(folder / file).values():
        assert isinstance(array.base, np.memmap)
        assert not array.flags.writeable


def test_tied_weights_share_their_memory(folder):
    arrays = read_state_dict(folder / "views.zip.pt")
    assert np.shares_memory(arrays["base"], arrays["same"])
    assert np.shares_memory(arrays["base"], arrays["turned"])


@pytest.mark.parametrize(
    "name, reason",
    [
        ("quantized", "a quantized tensor"),
        ("sparse", "a sparse tensor"),
        ("nested", "a nested tensor"),
        ("meta", "a tensor without data"),
        ("conjugated", "conjugated"),
        ("script", "TorchScript"),
        ("protocol5", "pickle protocol 5"),
        ("whole_module", "torch.nn.modules.container.Sequential"),
    ],
)
def test_other_things_are_refused_by_name(folder, name, reason):
    with pytest.raises(CheckpointError, match=reason):
        read_state_dict(folder / f"{name}.pt")
