"""Models and indexes in another process: they compute the same there, or say how to load them."""

import multiprocessing
import pickle
from operator import methodcaller

import numpy as np
import pytest
from bounds import COSINE, DESCRIPTOR

import dolg_zoo
from dolg_zoo.embedders.compiled import CompiledDOLG
from dolg_zoo.errors import CompilationError
from dolg_zoo.retrieval import Index


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOLG_ZOO_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("DOLG_ZOO_RUNTIME", "litert")
        yield dolg_zoo.embedder()


def test_they_compute_the_same_in_a_spawned_process(module_photos, tmp_path, embedder):
    query = module_photos / "rocket.png"
    built = Index.build(embedder, module_photos)
    built.search(query)  # which chooses what computes
    built.save(tmp_path / "index")
    approximate = Index.build(embedder, module_photos, kind="hnsw")
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        for index in (built, Index.load(tmp_path / "index", embedder), approximate):
            sent = pool.apply(methodcaller("search", query, 3), (index,))
            here = index.search(query, 3)
            assert [match.name for match in sent] == [match.name for match in here]
            scores = [match.score for match in here]
            assert [match.score for match in sent] == pytest.approx(scores, abs=COSINE)
        sent = pool.apply(methodcaller("embed", [query]), (embedder,))
    np.testing.assert_allclose(sent, embedder.embed([query]), atol=DESCRIPTOR)


def test_one_that_cannot_be_sent_says_how_to_load_it(embedder, monkeypatch, tmp_path):
    of_keras = CompiledDOLG(lambda images: images, {**embedder.record, "runtime": "keras"})
    with pytest.raises(pickle.PicklingError, match=r"compile_for_inference\('keras', 'float32'\)"):
        pickle.dumps(of_keras)
    data = pickle.dumps(embedder)
    monkeypatch.setattr("dolg_zoo.embedders.compiled.load_compiled", lambda *given: None)
    with pytest.raises(CompilationError, match=r"compile_for_inference\('litert', 'float32'\)"):
        pickle.loads(data)
