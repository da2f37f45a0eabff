"""Formats and colours of pictures, and their display in a notebook.

Pages are white, also on a dark screen. Colour-blind readers can tell the colours apart, and no
fact is shown by colour alone.
"""

from __future__ import annotations

import base64
import html
import io
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from dolg_zoo._util.outputs import BLOCK, MARK, PICTURE, Kind, check_output, writing

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.ft2font import FT2Font

PAGE, INK, FAINT, LINE = "#ffffff", "#1b1f24", "#57606a", "#c9d0d8"

# Okabe and Ito, "Color Universal Design" (2008), without their yellow, which is faint on white
CATEGORIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")

FORMATS = {
    "": "PNG",
    ".png": "PNG",
    ".svg": "SVG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".webp": "WEBP",
}
LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383}
"""Maximum side in pixels of the formats with such a limit."""
DOTS_PER_INCH = 150

_log = logging.getLogger(__name__)
_NAMED: set[str] = set()
"""Letters without a font, which the log has reported."""


def picture_format(path: str | Path) -> str:
    """Return the format of `FORMATS` for the suffix of a file name; ValueError if there is none."""
    try:
        return FORMATS[Path(path).suffix.lower()]
    except KeyError:
        endings = ", ".join(filter(None, FORMATS))
        raise ValueError(
            f"{str(path)!r} must end in one of {endings}, or have no ending, for PNG."
        ) from None


def check_picture(path: str | Path, inputs: Iterable[object] = ()) -> None:
    """Check a picture as `check_output` does; raise ValueError for an unknown file ending."""
    picture_format(path)
    check_output(path, PICTURE, inputs)


def write_picture(
    path: str | Path,
    write: Callable[[IO[bytes], str], None],
    inputs: Iterable[object] = (),
    kind: Kind = PICTURE,
) -> None:
    """Write a picture atomically; `write` takes an open file and the format."""
    buffer = io.BytesIO()
    write(buffer, picture_format(path))
    # every format allows line breaks after its end
    buffer.write(b"\n" * (-buffer.tell() % BLOCK))
    with writing(path, kind, inputs) as file:
        file.write(buffer.getvalue())


def marked(kind: str) -> dict[str, Any]:
    """Return Pillow's options to write the mark into a picture of a raster format."""
    if kind == "PNG":
        info = PngInfo()
        info.add_text("Software", MARK)
        return {"pnginfo": info}
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = MARK
    return {"exif": exif}


def save_figure(
    figure: Figure, path: str | Path, inputs: Iterable[object] = (), kind: Kind = PICTURE
) -> None:
    """Write a figure atomically, in the format of the name's ending."""
    write_picture(path, lambda file, name: _write(figure, file, name), inputs, kind)


def figure_html(figure: Figure, description: str) -> str:
    """Return a figure as an image in HTML."""
    buffer = io.BytesIO()
    _write(figure, buffer, "PNG")
    return image_html(buffer.getvalue(), "png", description)


def figure_image(figure: Figure) -> Image.Image:
    """Return a figure as a picture."""
    buffer = io.BytesIO()
    _write(figure, buffer, "PNG")
    return Image.open(buffer).convert("RGB")


def image_html(data: bytes, kind: str, description: str) -> str:
    """Return a picture as an image in HTML, with its bytes in it."""
    return (
        f'<img alt="{html.escape(description)}" style="max-width:100%"'
        f' src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'
    )


def lettering(text: str) -> tuple[str, str]:
    """Return a text with letters that the font lacks escaped, and the font's file."""
    # Matplotlib's font, else the first system font with all letters, else the font with most
    file, lacking = _font_of(frozenset(text) | {"…"})  # the mark of a shortened text
    new = "".join(letter for letter in dict.fromkeys(text) if letter in lacking - _NAMED)
    if new:
        _NAMED.update(new)
        _log.warning(
            "no font here has the letters %s: pictures show them as %s. Install a font with them"
            " (for Chinese, Japanese and Korean, for example, Noto Sans CJK).",
            new,
            _escaped(new),
        )
    return "".join(_escaped(char) if char in lacking else char for char in text), file


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode()


@cache
def _font_of(letters: frozenset[str]) -> tuple[str, frozenset[str]]:
    """Return the file of the font with the most of the letters, and the letters that it lacks."""
    from matplotlib import font_manager, get_data_path
    from matplotlib.ft2font import FT2Font

    best = str(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"))
    lacking = _lacking(FT2Font(best), letters)
    if lacking:
        for file in sorted(font_manager.findSystemFonts(), key=_usual_first):
            if not _has_true_letters(file):
                continue
            try:
                missing = _lacking(FT2Font(file), letters)
            except (OSError, RuntimeError):  # FreeType cannot read the font
                continue
            if len(missing) < len(lacking):
                best, lacking = file, missing
            if not lacking:
                break
    return best, lacking


def _lacking(font: FT2Font, letters: frozenset[str]) -> frozenset[str]:
    known = font.get_charmap()
    return frozenset(letter for letter in letters if ord(letter) not in known)


def _usual_first(file: str) -> tuple[bool, str]:
    name = Path(file).stem.lower()
    unusual = ("bold", "black", "light", "thin", "italic", "oblique", "serif", "mono", "condensed")
    return any(word in name for word in unusual), file


def _has_true_letters(file: str) -> bool:
    """Return whether the font's letters are not boxes, blanks or coloured pictures."""
    name = "".join(filter(str.isalnum, Path(file).stem.lower()))
    return not any(word in name for word in ("lastresort", "blank", "coloremoji"))


@contextmanager
def _letters_drawn(figure: Figure, kind: str) -> Iterator[None]:
    """Give each text of a figure a font that has its letters, for as long as it is written."""
    from matplotlib.text import Text

    # the annotated type of `findobj` is Artist
    texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
    changed = [(text, text.get_text(), text.get_fontproperties().copy()) for text in texts]
    changed = [each for each in changed if not each[1].isascii()]
    try:
        for text, letters, _ in changed:
            shown, file = lettering(letters)
            text.get_fontproperties().set_file(file)
            if kind != "SVG":  # the viewer's fonts draw the letters of an SVG
                text.set_text(shown)
        with warnings.catch_warnings():
            if kind == "SVG":
                warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
            yield
    finally:
        for text, letters, font in changed:
            text.set_text(letters)
            text.set_fontproperties(font)


def _write(figure: Figure, file: Path | IO[bytes], kind: str) -> None:
    from matplotlib import rc_context

    options: dict[str, dict[str, Any]] = {
        "SVG": {"metadata": {"Date": None, "Creator": MARK}},
        # Pillow's usual level takes a second, and makes photographs hardly smaller
        "PNG": {"metadata": {"Software": MARK}, "pil_kwargs": {"compress_level": 3}},
    }
    # letters stay text, which people can search, copy and hear
    with (
        rc_context({"svg.fonttype": "none", "svg.hashsalt": "dolg-zoo"}),
        _letters_drawn(figure, kind),
    ):
        figure.savefig(
            file,
            format=kind.lower(),
            dpi=DOTS_PER_INCH,
            facecolor=PAGE,
            bbox_inches="tight",
            **options.get(kind) or {"pil_kwargs": marked(kind)},
        )
