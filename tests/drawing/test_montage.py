from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageColor

from dolg_zoo import BadImageError
from dolg_zoo.drawing.montage import PAGE, QUERY, RIGHT, WRONG
from dolg_zoo.retrieval import Match, Picture, montage, montage_rows


@pytest.fixture
def matches(photos):
    names = ["astronaut.png", "coffee.png", "far/chelsea.png"]
    return [Match(name, photos / name, 0.9 - place / 10) for place, name in enumerate(names)]


def has_colour(image, colour):
    return (np.asarray(image) == ImageColor.getrgb(colour)).all(axis=2)


def test_the_file_is_a_png_of_the_picture_that_is_returned(photos, matches, tmp_path):
    page = montage(photos / "rocket.png", matches, tmp_path / "found.png")
    with Image.open(tmp_path / "found.png") as written:
        assert written.format == "PNG"
        np.testing.assert_array_equal(np.asarray(written), np.asarray(page))


def test_the_name_decides_the_format(photos, matches, tmp_path):
    montage(photos / "rocket.png", matches, tmp_path / "found.JPG")
    assert Image.open(tmp_path / "found.JPG").format == "JPEG"


def test_as_svg_it_says_and_shows_the_same(photos, matches, tmp_path):
    page = montage(photos / "rocket.png", matches, tmp_path / "found.svg", relevant=[True] * 3)
    found = ElementTree.parse(tmp_path / "found.svg").getroot()
    parts = [part.tag.rpartition("}")[2] for part in found]
    assert (found.get("width"), found.get("height")) == (str(page.width), str(page.height))
    assert parts.count("image") == 4 + 3  # photographs, marks
    said = [part.text for part in found if part.tag.endswith("text")]
    assert said[:4] == ["Query", "rocket.png", "1   0.900", "astronaut.png"]
    frames = [part.get("stroke") for part in found if part.get("stroke-width") == "4"]
    assert frames == [QUERY, RIGHT, RIGHT, RIGHT]


def test_square_images_side_by_side_have_the_size_one_expects(photos, matches):
    page = montage(photos / "rocket.png", matches, height=100)
    assert page.width > 4 * 100 and page.width < 4 * 100 + 150
    assert 100 < page.height < 200
    query = Picture(photos / "rocket.png", "rocket.png")
    results = [Picture(match.path, match.name, match.score) for match in matches]
    wrapped = montage_rows([(query, results)], height=100, columns=2)
    assert wrapped.width == page.width - 100 - 16
    assert 200 < wrapped.height < 400


def test_it_brings_its_own_background_to_dark_pages(photos, matches):
    page = montage(photos / "rocket.png", matches)
    assert page.mode == "RGB"
    assert has_colour(page, PAGE)[[0, -1]].all()


def test_only_the_query_is_framed(photos, matches):
    page = montage(photos / "rocket.png", matches, height=100)
    framed = has_colour(page, QUERY)
    # all of the frame's long sides lie about the first image
    columns = np.flatnonzero(framed.sum(axis=0) > 100)
    assert len(columns) >= 2 and columns.max() < 20 + 100 + 20


def test_what_is_right_and_what_is_wrong_is_framed_so(photos, matches):
    page = montage(photos / "rocket.png", matches, relevant=[True, False, True], height=100)
    for colour, count in ((RIGHT, 2), (WRONG, 1), (QUERY, 1)):
        # a frame of 112×112 pixels has two long sides, four pixels thick each
        columns = np.flatnonzero(has_colour(page, colour).sum(axis=0) >= 112)
        assert len(columns) == 2 * 4 * count


def test_right_and_wrong_differ_in_shape_and_not_in_colour_alone(photos, matches):
    pages = [
        montage(photos / "rocket.png", matches[:1], relevant=[mark], height=100)
        for mark in (True, False)
    ]
    white = [has_colour(page, "white") for page in pages]
    assert (white[0] != white[1]).sum() > 20


def test_unknown_relevance_has_no_mark(photos, matches):
    plain = np.asarray(montage(photos / "rocket.png", matches))
    marked = np.asarray(montage(photos / "rocket.png", matches, relevant=[True, False, True]))
    assert plain.shape == marked.shape and (plain != marked).any()


@pytest.mark.parametrize("name", ["x" * 300 + ".jpg", "写真" * 50, "a\nb\x1b[31m.jpg", "\udcff"])
def test_any_name_is_drawn_in_the_same_space(photos, name):
    picture = Picture(photos / "coffee.png", "coffee.png", 0.5)
    usual = montage_rows([(picture, [picture])])
    strange = montage_rows([(picture, [Picture(photos / "coffee.png", name, 0.5)])])
    assert strange.size == usual.size


def test_a_long_name_keeps_its_end(photos):
    def page(name):
        return np.asarray(montage_rows([(Picture(photos / "coffee.png", name), [])]))

    assert (page("x" * 80 + "_1.jpg") != page("x" * 80 + "_2.jpg")).any()


@pytest.mark.parametrize("size", [(2000, 20), (20, 2000)])
def test_a_very_long_image_takes_no_more_room_than_a_bound(photos, size):
    picture = Picture(Image.new("RGB", size), "long", 0.5)
    page = montage_rows([(Picture(photos / "coffee.png", "query"), [picture])], height=100)
    assert page.width < 400 and page.height < 200


def test_a_result_that_cannot_be_read_any_more_is_shown_as_such(photos, matches):
    (photos / "coffee.png").unlink()
    whole = montage(photos / "rocket.png", matches)
    assert whole.width > 4 * 180


@pytest.mark.parametrize("mark", [True, False])
def test_a_result_that_cannot_be_read_is_marked_neither_right_nor_wrong(photos, matches, mark):
    gone, query = [Match("gone.png", photos / "gone.png", 0.5)], photos / "rocket.png"
    page = montage(query, gone, relevant=[mark])
    np.testing.assert_array_equal(np.asarray(page), np.asarray(montage(query, gone)))


def test_a_query_that_cannot_be_read_is_an_error(photos, matches):
    with pytest.raises(BadImageError):
        montage(photos / "gone.png", matches)


def test_a_query_without_results_is_shown_alone(photos):
    assert montage(photos / "rocket.png", []).height > 180


@pytest.mark.parametrize("name", ["found.psd", "found.h5", "found.txt"])
def test_an_ending_of_another_format_is_refused_with_those_there_are(
    photos, matches, tmp_path, name
):
    with pytest.raises(ValueError, match=rf"{name}.*\.png, \.svg, \.jpg, \.jpeg, \.webp"):
        montage(photos / "rocket.png", matches, tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_name_without_an_ending_is_a_png(photos, matches, tmp_path):
    montage(photos / "rocket.png", matches, tmp_path / "found")
    assert Image.open(tmp_path / "found").format == "PNG"
