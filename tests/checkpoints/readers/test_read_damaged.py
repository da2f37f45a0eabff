"""Sound files of each format, cut off or with a byte changed, and the fuzzer on a few hundred."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from dolg_zoo.weights import CheckpointError, read_state_dict

SEEDS = runpy.run_path(str(Path(__file__).with_name("handmade.py")))["seeds"]()
WITH_CHECKSUMS = ["zip", "nested"]


@pytest.mark.parametrize("format", SEEDS)
def test_a_file_cut_off_anywhere_is_refused(read, format):
    whole = SEEDS[format]
    for percent in range(100):
        with pytest.raises(CheckpointError):
            read(whole[: len(whole) * percent // 100])


@pytest.mark.parametrize("format", SEEDS)
def test_a_changed_byte_is_refused_or_changes_a_value_alone(tmp_path, rng, format):
    whole = SEEDS[format]
    (tmp_path / "whole").write_bytes(whole)
    sound = read_state_dict(tmp_path / "whole")
    refused = 0
    for at in rng.integers(len(whole), size=1000):
        data = bytearray(whole)
        data[at] ^= 1 << rng.integers(8)
        path = tmp_path / str(at)
        path.write_bytes(data)
        try:
            found = read_state_dict(path)
        except CheckpointError:
            refused += 1
            continue
        assert len(found) == len(sound)
        if format in WITH_CHECKSUMS:
            # the change was in a part that says nothing, such as a date
            for name, array in sound.items():
                np.testing.assert_array_equal(found[name], array, strict=True)
    assert refused > 20


def test_the_fuzzer_finds_nothing_in_some_hundred_files(run_script):
    assert "600 files" in run_script("fuzz_readers.py", "--files", 600, "--seed", 7)
