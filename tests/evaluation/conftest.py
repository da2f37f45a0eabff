import pickle
import re
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from unit_rows import unit

from dolg_zoo.evaluation.revisited.ground_truth import read_ground_truth
from dolg_zoo.shipped_photos import FOLDER


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


@pytest.fixture(autouse=True)
def cache_dir(tmp_path, monkeypatch):
    """The cache folder: never the user's own."""
    monkeypatch.setenv("DOLG_ZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def write_images():
    """Writes parts of photographs: of each subject its own, each from another place."""

    def write(folder, names):
        for number, (name, subject) in enumerate(names.items()):
            (path,) = FOLDER.glob(f"{subject}.*")
            x, y = 10 * (number % 5), 10 * (number % 3)
            part = Image.open(path).convert("RGB").crop((x, y, x + 200, y + 160))
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            part.resize((100, 80)).save(target)

    return write


@pytest.fixture
def write_store(tmp_path):
    """Writes descriptors as `dolg embed` does, as if a model had made them."""
    from dolg_zoo.retrieval import DescriptorStore

    def write(ids, rows, model=None, part=1000, folder="store", scales=(1.0,), **settings):
        settings.setdefault("model_id", model.model_id if model else "0" * 32)
        settings.setdefault("model_name", "some-model")
        store = DescriptorStore.create(
            tmp_path / folder, dim=rows.shape[1], scales=scales, **settings
        )
        for start in range(0, len(ids), part):
            store.append(ids[start : start + part], rows[start : start + part])
        return tmp_path / folder

    return write


@pytest.fixture(scope="session")
def model():
    """A small network with random weights; what it makes of photographs differs all the same."""
    from small_run import tiny_model

    return tiny_model()
