import pickle
import re
from types import SimpleNamespace

import numpy as np
import pytest

from dolg_zoo.evaluation.ground_truth import read_ground_truth


@pytest.fixture
def write_truth(tmp_path):
    """Writes ground truth as its authors do, and gives the path."""

    def write(gallery, queries, entries, name="gnd_roxford5k.pkl"):
        value = {"imlist": list(gallery), "qimlist": list(queries), "gnd": entries}
        path = tmp_path / name
        path.write_bytes(pickle.dumps(value, protocol=3))
        return path

    return write


@pytest.fixture(scope="session")
def described(shared):
    """Ground truth and descriptors by the rule that golden/revisited_eval.json follows."""

    def make(key):
        name, noise, seed = re.fullmatch(r"(\w+)/noise([\d.]+)/seed(\d)", key).groups()
        truth = read_ground_truth(shared / "revisited" / f"gnd_{name}.pkl")
        rng, noise = np.random.default_rng(int(seed)), float(noise)
        axes = rng.standard_normal((len(truth.queries), 64))
        gallery = noise * rng.standard_normal((len(truth.gallery), 64))
        for query, axis in enumerate(axes):
            for kind, weight in ((truth.easy, 1.0), (truth.hard, 0.5)):
                for place in kind[query]:
                    gallery[place] += weight * axis
        queries = axes + 0.5 * noise * rng.standard_normal(axes.shape)
        return SimpleNamespace(truth=truth, queries=unit(queries), gallery=unit(gallery))

    return make


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
