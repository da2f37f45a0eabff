"""What an index does with its model: embedding, stores, and models that do not fit."""

import io

import numpy as np
import pytest
from bounds import COSINE, DESCRIPTOR
from unit_rows import unit, unit_rows

from dolg_zoo import BadImageError
from dolg_zoo.retrieval import DescriptorStore, Index
from dolg_zoo.retrieval.search.exact import Exact
from dolg_zoo.retrieval.search.ranking import Ranking, augment_database


def test_added_images_are_embedded_and_bad_ones_named(model, photos):
    index = Index.build(model, photos)
    (photos / "rocket.png").rename(photos / "new.png")
    (photos / "bad.jpg").write_text("no image")
    index.remove("rocket.png")
    index.add(["new.png", "bad.jpg"], metadata=[{"title": "rocket"}, {}])
    assert index.names[-1] == "new.png" and list(index.skipped) == ["bad.jpg"]
    match = index.search(photos / "new.png", k=1)[0]
    assert match.name == "new.png" and match.metadata == {"title": "rocket"}
    np.testing.assert_allclose(
        index.descriptors[-1], model.embed(photos / "new.png")[0], atol=DESCRIPTOR
    )


def test_added_descriptors_replace_those_of_the_same_name(model, rng):
    rows = unit_rows(rng, 4, 512)
    index = Index(model, ["a", "b"], rows[:2], metadata=[{"n": 1}, {"n": 2}])
    index.add(["c", "a"], rows[2:] * 7)
    assert index.names == ["b", "c", "a"] and index.metadata == [{"n": 2}, {}, {"n": 1}]
    np.testing.assert_allclose(index.descriptors, rows[1:], atol=COSINE)


@pytest.mark.parametrize(
    "names, shape", [(["a"], (2, 512)), (["a", "a"], (2, 512)), (["/a"], (1, 512)), (["a"], (1, 5))]
)
def test_what_does_not_fit_is_not_added(model, rng, names, shape):
    index = Index(model, ["x"], unit_rows(rng, 1, 512))
    with pytest.raises(ValueError):
        index.add(names, np.ones(shape))
    assert index.names == ["x"]


def test_several_queries_at_once_are_as_each_alone(model, photos):
    index = Index.build(model, photos)
    (photos / "bad.jpg").write_text("no image")
    queries = [photos / "rocket.png", photos / "bad.jpg", photos / "coffee.png"]
    found = index.search_each(queries, k=2)
    assert isinstance(found[1], BadImageError)
    for query, matches in ((queries[0], found[0]), (queries[2], found[2])):
        alone = index.search(query, k=2)
        assert [match.name for match in matches] == [match.name for match in alone]


def test_within_a_query_finds_itself(model, photos):
    index = Index.build(model, photos)
    assert [m.name for m in index.within(photos / "rocket.png", 0.99)] == ["rocket.png"]
    assert len(index.within(photos / "rocket.png", -1)) == 4


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_index_of_a_store(model, tmp_path, rng, dtype):
    rows = unit_rows(rng, 5, 512)
    store = DescriptorStore.create(
        tmp_path / "store",
        model_id=model.model_id,
        model_name="a model",
        dim=512,
        scales=(0.5, 1.0),
        dtype=dtype,
    )
    store.append(["a", "b", "c"], rows[:3])
    store.append(["d", "e"], rows[3:])
    index = Index.from_store(tmp_path / "store", model, "photos")
    assert index.names == ["a", "b", "c", "d", "e"] and index.scales == (0.5, 1.0)
    np.testing.assert_allclose(index.descriptors, rows, atol=COSINE if dtype == "float32" else 1e-3)
    np.testing.assert_allclose(np.linalg.norm(index.descriptors, axis=1), 1, atol=COSINE)
    assert str(index.search_descriptors(rows[3:4], 1)[0][0].path) == "photos/d"


@pytest.mark.parametrize("model_id, dim", [("0" * 32, 512), (None, 64)])
def test_a_store_of_another_model_is_refused_and_both_are_named(model, tmp_path, model_id, dim):
    DescriptorStore.create(
        tmp_path / "store",
        model_id=model_id or model.model_id,
        model_name="another model",
        dim=dim,
        scales=(1.0,),
    )
    with pytest.raises(ValueError, match=rf"'another model'.*{dim} dim.*'small'"):
        Index.from_store(tmp_path / "store", model)


def test_a_folder_knows_where_its_images_were(model, tmp_path, rng):
    (tmp_path / "photos").mkdir()
    settings = {"scales": (0.5, 1.0), "skipped": {"bad\n.jpg": "why"}, "metadata": [{"n": 1}]}
    index = Index(model, ["a"], unit_rows(rng, 1, 512), folder=tmp_path / "photos", **settings)
    index.save(tmp_path / "index")
    loaded = Index.load(tmp_path / "index", model)
    assert loaded.folder == tmp_path / "photos"
    assert all(getattr(loaded, name) == value for name, value in settings.items())
    assert str(Index.load(tmp_path / "index", model, "here").folder) == "here"
    (tmp_path / "photos").rmdir()
    assert str(Index.load(tmp_path / "index", model).folder) == "."


def test_a_folder_can_be_loaded_changed_and_saved_in_its_place(model, tmp_path, rng):
    rows = unit_rows(rng, 300, 512)
    names = [f"{place}.jpg" for place in range(300)]
    Index(model, names, rows, kind="hnsw").save(tmp_path / "index")
    index = Index.load(tmp_path / "index", model)
    index.remove(names[:20])
    index.add(["new.jpg"], rows[:1])
    index.save(tmp_path / "index")
    back = Index.load(tmp_path / "index", model)
    assert back.names == [*names[20:], "new.jpg"] and back.kind == "hnsw"
    found = back.search_descriptors(rows[[0, 50]], 1)
    assert [matches[0].name for matches in found] == ["new.jpg", "50.jpg"]


def test_an_update_of_other_scales_is_refused(model, rng):
    rows = unit_rows(rng, 2, 512)
    index = Index(model, ["a"], rows[:1], scales=(1.0,))
    with pytest.raises(ValueError, match=r"scales \(0\.5,\)"):
        index.update(Index(model, ["b"], rows[1:], scales=(0.5,)))
    assert index.names == ["a"]


def test_an_augmented_index_has_each_descriptor_moved_to_its_nearest(model, rng):
    rows = unit(unit_rows(rng, 30, 512) + np.eye(1, 512))  # so that none is opposite
    before = rows.copy()
    index = Index(model, [str(i) for i in range(30)], rows, metadata=[{"n": 1}] * 30)
    augmented = index.augmented(n=2, alpha=3)
    expected = augment_database(rows, Exact(rows).search, 2, 3)
    np.testing.assert_array_equal(augmented.descriptors, expected)
    assert augmented.names == index.names and augmented.metadata == index.metadata
    np.testing.assert_array_equal(index.descriptors, before)


@pytest.mark.parametrize("wrong", [{"n": 0}, {"n": 2.5}, {"alpha": -1.0}])
def test_says_how_an_index_cannot_be_augmented(model, rng, wrong):
    index = Index(model, ["x"], unit_rows(rng, 1, 512))
    with pytest.raises(ValueError, match=f"got {next(iter(wrong.values()))}"):
        index.augmented(**wrong)


def test_a_search_with_augmentation_is_a_search_in_the_augmented_index(model, rng):
    names = [f"{number}.jpg" for number in range(30)]
    index = Index(model, names, unit_rows(rng, 30, model.descriptor_dim))
    queries = unit_rows(rng, 3, model.descriptor_dim)
    plain = index.search_descriptors(queries, 5)
    for n, alpha in ((2, 3.0), (2, 0.0), (4, 0.0)):
        expected = index.augmented(n, alpha).search_descriptors(queries, 5)
        for _ in range(2):
            found = index.search_descriptors(queries, 5, Ranking(dba=n, alpha=alpha))
            assert found == expected
        assert found != plain
    assert index.search_descriptors(queries, 5) == plain
    index.remove(names[:10])  # the augmented rows of before are none of it any more
    expected = index.augmented(4, 0.0).search_descriptors(queries, 5)
    assert index.search_descriptors(queries, 5, Ranking(dba=4, alpha=0.0)) == expected


@pytest.mark.parametrize("kind", [bytes, io.BytesIO, list])
def test_an_index_is_built_of_a_folder_and_of_nothing_else(model, kind):
    with pytest.raises(TypeError, match="folder"):
        Index.build(model, kind(b"no folder"))
