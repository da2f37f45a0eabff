import re
import string
import warnings
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from write_font import write_font

from dolg_zoo.drawing import style
from dolg_zoo.drawing.montage import Picture, montage_rows
from dolg_zoo.drawing.style import lettering, save_figure

LATIN = string.ascii_letters + string.digits + " ._-…$\\"


@pytest.fixture
def fonts(monkeypatch, tmp_path):
    """Let the system have the fonts that are named, and no others."""

    def only(**letters):
        files = [str(write_font(tmp_path / f"{name}.ttf", each)) for name, each in letters.items()]
        monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: files)
        style._font_of.cache_clear()
        style._NAMED.clear()

    yield only
    style._font_of.cache_clear()


def test_letters_that_no_font_has_are_escaped_and_named(fonts, caplog):
    fonts()
    assert lettering("写真 é Ж 1.jpg")[0] == r"\u5199\u771f é Ж 1.jpg"
    (record,) = caplog.records
    assert "写真" in record.getMessage() and "font" in record.getMessage()
    lettering("写真.jpg")
    lettering("真写.png")
    assert len(caplog.records) == 1


@pytest.mark.parametrize("text", ["写真.jpg", "사진.jpg", "写", "🦜.jpg"])
def test_a_font_of_the_system_is_taken_that_has_all_letters(fonts, text, caplog):
    fonts(Alone="写사🦜", Other=LATIN, Wanted="写真사진🦜" + LATIN, LastResort=text + LATIN)
    shown, file = lettering(text)
    assert shown == text and file.endswith("Wanted.ttf")
    assert not caplog.records


def test_a_font_that_has_boxes_for_every_letter_is_not_taken(fonts):
    fonts(LastResortHE="写真" + LATIN)
    assert lettering("写真")[0] == r"\u5199\u771f"


def test_where_no_font_has_all_letters_the_one_that_has_most_is_taken(fonts):
    fonts(Han="写真" + LATIN, Hangul="사진" + LATIN)
    assert lettering("写真사.jpg")[0] == r"写真\uc0ac.jpg"


def test_a_font_that_cannot_be_read_is_passed_over(fonts, monkeypatch, tmp_path):
    fonts()
    good = write_font(tmp_path / "Zfont.ttf", "写" + LATIN)
    (tmp_path / "Abad.ttf").write_bytes(b"no font")
    files = [str(tmp_path / "gone.ttf"), str(tmp_path / "Abad.ttf"), str(good)]
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: files)
    assert lettering("写.jpg")[1] == str(good)


def montage_of(name, path=None):
    picture = Picture(Image.new("RGB", (300, 100), "white"), name)
    return np.asarray(montage_rows([(picture, [])], path, height=100))


def test_a_montage_shows_a_name_by_its_letters_or_escaped(fonts, tmp_path):
    fonts(Han="写真" + LATIN)
    # the squares of the test's font, below the heading, and nothing but them
    page = montage_of("写真")[-35:]
    assert (page < 200).all(axis=2).sum() > 2 * 8 * 8
    fonts()
    assert (montage_of("写真") != montage_of("写写")).any()
    montage_of("写真", tmp_path / "a.svg")  # the reader of an SVG has fonts of their own
    said = [part.text for part in ElementTree.parse(tmp_path / "a.svg").getroot()]
    assert "写真" in said


def figure_of(text):
    figure = Figure(figsize=(3, 1))
    figure.text(0.1, 0.5, text, parse_math=False)
    return figure


@pytest.mark.parametrize("letters", ["", "写真" + LATIN])
@pytest.mark.parametrize("ending", ["png", "svg", "jpg"])
def test_a_figure_has_no_empty_boxes(fonts, tmp_path, letters, ending):
    fonts(**({"Han": letters} if letters else {}))
    figure = figure_of("写真 a$b")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Matplotlib's of letters that a font lacks
        save_figure(figure, tmp_path / f"a.{ending}")
    assert figure.texts[0].get_text() == "写真 a$b"  # it is left as it was
    if ending == "svg":
        said = re.findall(r"<text[^>]*>([^<]*)</text>", (tmp_path / "a.svg").read_text())
        assert said == ["写真 a$b"]


def test_the_fonts_of_a_figure_in_plain_letters_stay_as_they_are(fonts, tmp_path):
    fonts(Odd=LATIN)
    save_figure(figure_of("plain"), tmp_path / "a.png")
    figure_of("plain").savefig(tmp_path / "b.png", dpi=style.DOTS_PER_INCH, bbox_inches="tight")
    with Image.open(tmp_path / "a.png") as ours, Image.open(tmp_path / "b.png") as plain:
        assert np.array_equal(np.asarray(ours), np.asarray(plain))
