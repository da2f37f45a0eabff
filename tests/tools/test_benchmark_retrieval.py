import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="module")
def tool(load_tool):
    return load_tool("benchmarks/retrieval")


def test_rows_are_of_length_1_and_have_neighbours(tool):
    rows = tool.synthetic(200, seed=0)
    assert rows.shape == (200, 512) and np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    cosines = rows @ rows.T
    assert cosines[:20, :20].min() > cosines[:20, 20:].max()  # a group, and all the others
    assert not np.array_equal(rows, tool.synthetic(200, seed=1))


@pytest.mark.parametrize("search", ["by_numpy", "by_faiss"])
def test_what_exact_search_is_compared_with_finds_the_nearest_in_order(tool, rng, search):
    rows = rng.standard_normal((300, 8)).astype("float32")
    queries = rng.standard_normal((4, 8)).astype("float32")
    scores, places = getattr(tool, search)(rows, queries)
    expected = np.argsort(-(queries @ rows.T), axis=1)[:, :10]
    assert np.array_equal(places, expected)
    assert np.allclose(scores, np.take_along_axis(queries @ rows.T, expected, axis=1))


@pytest.mark.slow
def test_measures_search_evaluation_and_extraction(tool, tmp_path, photos, model):
    model.save_to_preset(tmp_path / "preset")
    options = ["retrieval", "--rows=1200", "--kinds=hnsw", "--rounds=2"]
    options += ["--photos", photos, "--preset", tmp_path / "preset"]
    script = Path(tool.__file__).parents[1] / "benchmark.py"
    command = [sys.executable, script, *options, "--json", tmp_path / "found.json"]
    subprocess.run(command, check=True, capture_output=True)
    found = json.loads((tmp_path / "found.json").read_text())
    (size,) = found["sizes"]
    seconds = size["exact"]["seconds"]
    assert size["exact"]["NumPy takes times as long"] == pytest.approx(
        seconds["NumPy"]["median"] / seconds["exact"]["median"], rel=0.1
    )
    assert size["exact"]["faiss takes times as long"] == pytest.approx(
        seconds["faiss"]["median"] / seconds["exact"]["median"], rel=0.1
    )
    assert size["hnsw"]["recall@10"] > 0.9
    assert found["evaluation"]["distractors"] == 1200
    assert 0 < found["evaluation"]["mAP"]["hard"] <= found["evaluation"]["mAP"]["easy"] <= 1
    taken = found["extraction"]["seconds"]
    share = 1 - taken["network"]["median"] / taken["files to store"]["median"]
    assert found["extraction"]["share that is not the network"] == pytest.approx(share, abs=1e-3)
    assert found["extraction"]["photographs"] == 4
