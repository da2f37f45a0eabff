"""What pictures have in common: their formats, their colours, how they are shown in a notebook.

Pictures have a white page of their own, so that they are read as well on a dark screen. Colours are
told apart by those who see fewer of them, and none of them says anything alone.
"""

from __future__ import annotations

import base64
import html
import io
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from dolg_zoo._util.files import replacing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PAGE, INK, FAINT, LINE = "#ffffff", "#1b1f24", "#57606a", "#c9d0d8"

# Okabe and Ito, "Color Universal Design" (2008), without their yellow, which is faint on white
CATEGORIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")

FORMATS = {
    ".png": "png",
    ".svg": "svg",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
}
DOTS_PER_INCH = 150


def figure_format(path: str | Path) -> str:
    """Return the format that the ending of a file's name says; ValueError if it says none."""
    try:
        return FORMATS[Path(path).suffix.lower()]
    except KeyError:
        endings = ", ".join(FORMATS)
        raise ValueError(f"{str(path)!r} must end in one of {endings}.") from None


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure whole or not at all, in the format that the name's ending says."""
    kind = figure_format(path)
    with replacing(path) as file:
        _write(figure, file, kind)


def figure_html(figure: Figure, description: str) -> str:
    """Return a figure as an image in HTML."""
    held = io.BytesIO()
    _write(figure, held, "png")
    return image_html(held.getvalue(), "png", description)


def figure_image(figure: Figure) -> Image.Image:
    """Return a figure as a picture."""
    held = io.BytesIO()
    _write(figure, held, "png")
    return Image.open(held).convert("RGB")


def image_html(data: bytes, kind: str, description: str) -> str:
    """Return a picture as an image in HTML, with its bytes in it."""
    return (
        f'<img alt="{html.escape(description)}" style="max-width:100%"'
        f' src="data:image/{kind};base64,{base64.b64encode(data).decode()}">'
    )


def _write(figure: Figure, file, kind: str) -> None:
    from matplotlib import rc_context

    # letters stay letters: they can be searched, read aloud and copied
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "dolg-zoo"}):
        figure.savefig(
            file,
            format=kind,
            dpi=DOTS_PER_INCH,
            facecolor=PAGE,
            bbox_inches="tight",
            metadata={"Date": None} if kind == "svg" else None,
        )
