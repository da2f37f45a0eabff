"""An SVG page with the drawing methods of Pillow, whose letters stay text."""

from __future__ import annotations

import base64
import html
import io

from PIL import Image

from dolg_zoo._util.outputs import MARK
from dolg_zoo.drawing.style import PAGE


class SvgPage:
    """An SVG page with the methods of Pillow that `montage` needs; sizes in pixels."""

    def __init__(self, size: tuple[int, int], text_size: int) -> None:
        self.width, self.height = size
        self._text_size = text_size
        self._parts: list[str] = []

    def paste(
        self, image: Image.Image, at: tuple[int, int], mask: Image.Image | None = None
    ) -> None:
        """Put a picture on the page, with an optional transparency mask."""
        buffer = io.BytesIO()
        kind = "jpeg" if mask is None else "png"
        image.save(buffer, kind, quality=90)
        data = base64.b64encode(buffer.getvalue()).decode()
        self._parts.append(
            f'<image x="{at[0]}" y="{at[1]}" width="{image.width}" height="{image.height}"'
            f' href="data:image/{kind};base64,{data}"/>'
        )

    def rectangle(self, box: tuple[int, ...], outline: str, width: int = 1) -> None:
        """Draw a frame whose outer edge is the box, as Pillow does."""
        x1, y1, x2, y2 = box
        half = width / 2  # SVG centres a stroke on its line
        self._parts.append(
            f'<rect x="{x1 + half}" y="{y1 + half}" width="{x2 - x1 + 1 - width}"'
            f' height="{y2 - y1 + 1 - width}" fill="none" stroke="{outline}"'
            f' stroke-width="{width}"/>'
        )

    def line(self, ends: tuple[int, ...], fill: str) -> None:
        """Draw a line."""
        x1, y1, x2, y2 = ends
        self._parts.append(f'<path d="M{x1} {y1}L{x2} {y2}" stroke="{fill}"/>')

    def text(self, at: tuple[int, int], text: str, fill: str, font: object) -> None:
        """Write a line at its upper left corner, in the viewer's own font."""
        baseline = at[1] + 0.8 * self._text_size
        self._parts.append(
            f'<text x="{at[0]}" y="{baseline}" fill="{fill}">{html.escape(text)}</text>'
        )

    def document(self) -> str:
        """Return the SVG file."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}"'
            f' width="{self.width}" height="{self.height}" font-family="sans-serif"'
            f' font-size="{self._text_size}"><metadata>{MARK}</metadata>'
            f'<rect width="100%" height="100%" fill="{PAGE}"/>' + "".join(self._parts) + "</svg>\n"
        )
