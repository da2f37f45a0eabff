import numpy as np
import pytest
from bounds import COSINE
from unit_rows import unit, unit_rows

from dolg_zoo.retrieval.extraction.identity import Changes
from dolg_zoo.retrieval.index.gallery import Gallery


def gallery(descriptors, metadata=None, kind="exact", names=None, recall=0.95):
    names = names or [f"{place}.jpg" for place in range(len(descriptors))]
    return Gallery(names, descriptors, "photos", metadata, kind, recall, "a model")


def names_of(matches):
    return [match.name for match in matches]


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivfpq"])
def test_metadata_comes_with_the_match(rng, kind):
    rows = unit_rows(rng, 300, 8)
    index = gallery(rows, [{"place": i} for i in range(300)], kind)
    assert index.kind == kind
    (match,) = index.search_descriptors(rows[17:18], 1)[0]
    assert match.metadata == {"place": 17} and str(match.path) == "photos/17.jpg"


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivfpq"])
def test_what_was_removed_is_not_found(rng, kind):
    rows = unit_rows(rng, 400, 8)
    index = gallery(rows, [{"place": i} for i in range(400)], kind)
    gone = [f"{place}.jpg" for place in range(0, 100, 2)]
    index.remove(gone)
    assert len(index) == 350 and index.descriptors.shape == (350, 8)
    cosines = rows[:10] @ rows.T
    cosines[:, :100:2] = -np.inf
    expected = [f"{place}.jpg" for place in np.argmax(cosines, axis=1)]
    found = index.search_descriptors(rows[:10], 1)
    assert [names_of(matches)[0] for matches in found] == expected
    assert all(f"{match.metadata['place']}.jpg" == match.name for (match,) in found)


def test_removing_a_name_that_is_not_there_removes_nothing(rng):
    index = gallery(unit_rows(rng, 3, 8))
    with pytest.raises(ValueError, match=r"'9\.jpg'"):
        index.remove(["1.jpg", "9.jpg"])
    assert len(index) == 3


def test_all_images_can_be_removed(rng):
    index = gallery(unit_rows(rng, 300, 8), kind="hnsw")
    index.remove(index.names)
    assert len(index) == 0 and index.search_descriptors(np.ones((2, 8)), 3) == [[], []]
    assert index.within_descriptors(np.ones((1, 8)), 0.5) == [[]] and index.duplicates() == []


def test_an_update_adds_replaces_and_removes(rng):
    rows = unit_rows(rng, 6, 8)
    index = gallery(rows[:4], [{"n": i} for i in range(4)], names=["a", "b", "c", "d"])
    fresh = gallery(rows[[5, 0, 1, 4]], names=["e", "a", "b", "c"])
    # e is new, c is another picture, d is gone
    assert index.update(fresh) == Changes(added=1, changed=1, removed=1, kept=2)
    assert sorted(index.names) == ["a", "b", "c", "e"]
    for name, place in {"a": 0, "b": 1, "c": 4, "e": 5}.items():
        (match,) = index.search_descriptors(rows[place : place + 1], 1)[0]
        assert match.name == name and match.score == pytest.approx(1, abs=COSINE)
        assert match.metadata == ({"n": "abcd".index(name)} if name != "e" else {})
    assert index.update(fresh) == Changes(kept=4)


@pytest.mark.parametrize("kind", ["exact", "hnsw"])
def test_within_finds_all_that_is_as_near_best_first(rng, kind):
    rows = unit_rows(rng, 300, 8)
    found = gallery(rows, kind=kind).within_descriptors(rows[:2] * 3, 0.5)
    for row, matches in zip(rows[:2], found, strict=True):
        cosines = rows @ row
        order = [place for place in np.argsort(-cosines) if cosines[place] >= 0.5]
        assert len(order) > 5 and names_of(matches) == [f"{place}.jpg" for place in order]
        np.testing.assert_allclose([m.score for m in matches], cosines[order], atol=COSINE)


@pytest.mark.parametrize("threshold", [1.1, -2, np.nan, "0.5", None, True])
def test_a_threshold_that_is_no_cosine_is_refused(rng, threshold):
    index = gallery(unit_rows(rng, 3, 8))
    with pytest.raises(ValueError, match="threshold must be a number from -1 to 1"):
        index.within_descriptors(np.ones((1, 8)), threshold)
    with pytest.raises(ValueError, match="threshold"):
        index.duplicates(threshold)


def test_duplicates_tell_how_alike_they_are_to_the_first(rng):
    rows = unit_rows(rng, 5, 16)
    rows[3] = unit(rows[1] + 0.1 * rows[0])
    (group,) = gallery(rows).duplicates(0.9)
    assert names_of(group) == ["1.jpg", "3.jpg"]
    assert group[0].score == pytest.approx(1, abs=COSINE)
    assert group[1].score == pytest.approx(float(rows[1] @ rows[3]), abs=COSINE)


def test_no_image_of_a_group_is_less_like_the_first_than_the_threshold():
    angles = np.radians([0, 15, 30, 45, 60, 75, 90])  # each is alike to its neighbours alone
    rows = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype("float32")
    groups = gallery(rows).duplicates(0.95)  # the cosine of 18 degrees
    assert [names_of(group) for group in groups] == [
        ["0.jpg", "1.jpg"],
        ["2.jpg", "3.jpg"],
        ["4.jpg", "5.jpg"],
    ]


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"names": ["a", "a"]}, "'a' is there twice"),
        ({"names": ["a", "../b"]}, "leads out"),
        *(({"metadata": wrong}, "metadata") for wrong in ([{}], [{}, 3], [{}, {"a": {1, 2}}])),
        ({"metadata": [{}, {"a": np.nan}]}, "metadata"),
        *(({"recall": wrong}, "recall") for wrong in (-0.1, 1.1, "0.9", np.nan)),
    ],
)
def test_what_cannot_be_is_refused(rng, wrong, fault):
    with pytest.raises(ValueError, match=fault):
        gallery(unit_rows(rng, 2, 8), **wrong)
