import shutil

import numpy as np
import pytest
from PIL import Image

from dolg_zoo import demo
from dolg_zoo.demo import ALTERATIONS, run_demo
from dolg_zoo.shipped_photos import FOLDER, SHIPPED


@pytest.fixture(scope="module")
def shipped(embedded_model):
    return run_demo(embedded_model)


@pytest.mark.slow
def test_every_query_finds_a_copy_of_itself_first(shipped):
    # 1.0 and 1.0 when this was written
    assert shipped.recall_at_1 >= 0.9 and shipped.map >= 0.9


@pytest.mark.slow
def test_the_originals_are_not_in_the_gallery(shipped):
    assert shipped.queries == len(SHIPPED) == 6
    assert shipped.gallery == 6 * len(ALTERATIONS) == 48
    assert shipped.skipped == {}


@pytest.mark.slow
def test_the_same_again(shipped, embedded_model):
    again = run_demo(embedded_model)
    assert (again.map, again.recall_at_1) == (shipped.map, shipped.recall_at_1)
    np.testing.assert_array_equal(np.asarray(again.draw()), np.asarray(shipped.draw()))


@pytest.mark.slow
def test_the_numbers_are_those_of_the_model(shipped, embedded_model, monkeypatch):
    def blind(images, **_):
        for index, _image in enumerate(images):
            yield index, np.eye(512, dtype=np.float32)[index]  # nothing is like anything

    monkeypatch.setattr(embedded_model, "embed_each", blind)
    result = run_demo(embedded_model)
    assert result.recall_at_1 < 0.5 and result.map < 0.5 < shipped.map


def test_each_photograph_that_ships_has_a_licence_that_frees_it():
    found = {path.name for path in FOLDER.iterdir() if path.suffix in (".png", ".jpg")}
    assert found == SHIPPED.keys()
    listed = (FOLDER / "README.md").read_text(encoding="utf-8")
    for name, terms in SHIPPED.items():
        assert terms.startswith(("CC0; ", "public domain; "))
        assert f"| {name} | {terms.replace('; ', ' | ')} |" in listed


@pytest.mark.parametrize("kind", ALTERATIONS)
@pytest.mark.parametrize("size", [(120, 80), (31, 200)])
def test_an_alteration_changes_the_picture_and_keeps_its_size(kind, size, rng):
    photo = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    altered = ALTERATIONS[kind](photo)
    assert altered.size == size and altered.mode == "RGB"
    assert (np.asarray(altered) != np.asarray(photo)).mean() > 0.5


def test_turning_leaves_no_empty_corner():
    turned = np.asarray(ALTERATIONS["turned"](Image.new("RGB", (300, 200), "white")))
    assert turned.min() > 250


def test_own_photographs_are_searched_among_altered_copies(model, photos):
    result = run_demo(model, photos)
    assert (result.queries, result.gallery) == (4, 4 * len(ALTERATIONS))
    assert "altered" in result.protocol


def test_many_photographs_are_sampled_evenly(model, photos, monkeypatch):
    monkeypatch.setattr(demo, "MAX_PHOTOS", 2)
    result = run_demo(model, photos)
    assert result.queries == 2 and "2 photographs of the 4" in result.protocol


@pytest.fixture
def classes(photos):
    """Two subfolders with three views each, one with a single image, and one image beside."""
    for name in ("rocket", "coffee"):
        (photos / name).mkdir()
        original = Image.open(photos / f"{name}.png")
        for place in range(3):
            part = (10 * place, 5 * place, 100 + 20 * place, 100 + 20 * place)
            original.crop(part).save(photos / name / f"{place}.png")
        (photos / f"{name}.png").unlink()
    return photos


def test_subfolders_are_classes_and_their_photographs_are_searched_as_they_are(
    embedded_model, classes
):
    result = run_demo(embedded_model, classes)
    assert (result.queries, result.gallery) == (6, 6)
    assert result.recall_at_1 == 1 and "2 subfolders" in result.protocol
    assert "altered" not in result.protocol


def test_a_photograph_is_not_shown_as_its_own_result(model, classes):
    rows = run_demo(model, classes).rows
    assert len(rows) == 6
    for query, results in rows:
        assert len(results) == 5 and query.name not in [picture.name for picture in results]


def test_large_classes_are_sampled(model, classes, monkeypatch):
    monkeypatch.setattr(demo, "MAX_CLASS_PHOTOS", 4)
    result = run_demo(model, classes)
    assert result.gallery == 4 and "4 of 6 photographs" in result.protocol


@pytest.mark.parametrize("name", ["astronaut.png", "coffee/0.png"])
def test_bad_photographs_are_named(model, photos, classes, name):
    if name == "astronaut.png":  # then there are no classes
        shutil.rmtree(classes / "coffee")
    (classes / name).write_text("no image")
    result = run_demo(model, classes)
    assert list(result.skipped) == [str(classes / name)]


def test_one_photograph_is_too_few(model, tmp_path, photos):
    (tmp_path / "one").mkdir()
    shutil.copy(photos / "rocket.png", tmp_path / "one")
    with pytest.raises(ValueError, match="at least two readable photographs"):
        run_demo(model, tmp_path / "one")


def test_the_protocol_counts_only_what_could_be_read(model, classes):
    (classes / "coffee" / "0.png").write_text("no image")
    result = run_demo(model, classes)
    assert result.queries == 5 and result.protocol.startswith("5 of 6 photographs")
