"""Pictures of results: the query beside its matches, with ranks, scores and names."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import zip_longest
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from PIL import Image, ImageDraw, ImageFont, ImageOps

from dolg_zoo._util.text import printable
from dolg_zoo.drawing.style import (
    CATEGORIES,
    FAINT,
    INK,
    LINE,
    LONGEST_SIDE,
    PAGE,
    check_picture,
    lettering,
    marked,
    picture_format,
    write_picture,
)
from dolg_zoo.drawing.svg import SvgPage
from dolg_zoo.errors import BadImageError
from dolg_zoo.preprocessing import load_image
from dolg_zoo.preprocessing.decode import MAX_PIXELS, name_of

if TYPE_CHECKING:
    from dolg_zoo.preprocessing import ImageSource

_log = logging.getLogger(__name__)

PANEL = "#eceff3"
# blue, orange and green that colour-blind readers can tell apart
QUERY, WRONG, RIGHT = CATEGORIES[:3]

MARGIN, GAP, LINE_GAP, FRAME = 20, 16, 26, 4
CAPTION, TEXT_SIZE = 46, 15
# limits of a thumbnail's ratio of width to height; beyond them it is drawn on a panel
NARROWEST, WIDEST = 0.7, 1.8


class HasScore(Protocol):
    """A search result, such as `dolg_zoo.retrieval.Match`."""

    @property
    def name(self) -> str:
        """The caption."""

    @property
    def path(self) -> Path:
        """The image file."""

    @property
    def score(self) -> float:
        """The cosine similarity to the query."""


@dataclass(frozen=True)
class Picture:
    """An image to show.

    Attributes:
        image: a path, a PIL image or an array.
        name: the text under it; a long one is cut in the middle.
        score: its similarity to the query.
        relevant: whether it is a correct result; None if unknown.
    """

    image: ImageSource
    name: str
    score: float | None = None
    relevant: bool | None = None


def montage(
    query: ImageSource | Picture,
    matches: Sequence[HasScore],
    path: str | Path | None = None,
    *,
    relevant: Sequence[bool | None] | None = None,
    height: int = 180,
) -> Image.Image:
    """Return a picture of a query and its results.

    Args:
        query: the query image, or a `Picture` of it.
        matches: the results, best first.
        path: a file to write as well; its suffix decides the format: .png, .svg, .jpg, .jpeg,
            .webp, or none for PNG. An existing picture made by dolg-zoo is replaced. The last
            results are left out, with a warning in the log, if the format has no room for all.
        relevant: for each match whether it is correct, for its frame and mark; None if unknown.
        height: the height of each image, in pixels.

    Raises:
        OutputError: if the path is one of the images, or a file that dolg-zoo did not write.
        OSError: if it cannot be written.
        ValueError: if the path has another ending, or the height has no room in the format.
        BadImageError: if the query cannot be read. An unreadable result has a grey panel instead.
    """
    if not isinstance(query, Picture):
        load_image(query)
        query = Picture(query, Path(name_of(query)).name)
    marks = [None] * len(matches) if relevant is None else relevant
    results = [
        Picture(match.path, match.name, match.score, mark)
        for match, mark in zip(matches, marks, strict=True)
    ]
    return montage_rows([(query, results)], path, height=height)


def montage_rows(
    rows: Sequence[tuple[Picture, Sequence[Picture]]],
    path: str | Path | None = None,
    *,
    columns: int = 5,
    height: int = 180,
) -> Image.Image:
    """Return a picture of several queries, each with its results beside it; see `montage`."""
    inputs = [picture.image for query, results in rows for picture in (query, *results)]
    if path is not None:
        check_picture(path, inputs)  # fails before the work
    columns, most = _room(columns, height, None if path is None else picture_format(path))
    # a line is the query or None, and at most `columns` results
    places: list[list[tuple[Picture, int | None] | None]] = []
    for query, results in rows:
        ranked = [(picture, rank) for rank, picture in enumerate(results, 1)]
        for start in range(0, max(len(ranked), 1), columns):
            places.append([(query, None) if start == 0 else None, *ranked[start : start + columns]])
    if len(places) > most:
        total, fit = (sum(len(line) - 1 for line in part) for part in (places, places[:most]))
        _log.warning("The picture shows %d of %d results: it has no room for more.", fit, total)
    lines = [
        [place and _Cell(place[0], height, place[1]) for place in line] for line in places[:most]
    ]
    width_of = [
        max((cell.thumbnail.width for cell in cells if cell), default=0)
        for cells in zip_longest(*lines)
    ]
    line_height = height + CAPTION + LINE_GAP
    divider = 2 * GAP  # between the query and its results
    size = (
        2 * MARGIN + sum(width_of) + GAP * (len(width_of) - 1) + divider - GAP,
        2 * MARGIN + line_height * len(lines) - LINE_GAP,
    )

    def draw_on(page: Image.Image | SvgPage, draw: ImageDraw.ImageDraw | SvgPage) -> None:
        for number, line in enumerate(lines):
            x, y = MARGIN, MARGIN + number * line_height
            if number and line[0]:
                above = y - LINE_GAP // 2 - FRAME
                draw.line((MARGIN, above, page.width - MARGIN, above), LINE)
            for column, cell in enumerate(line):
                if cell:
                    cell.draw(page, draw, x, y, width_of[column])
                x += width_of[column] + (GAP if column else divider)

    page = Image.new("RGB", size, PAGE)
    draw_on(page, ImageDraw.Draw(page))

    def write(file: IO[bytes], kind: str) -> None:
        if kind == "SVG":
            svg = SvgPage(size, TEXT_SIZE)
            draw_on(svg, svg)
            file.write(svg.document().encode())
        else:
            page.save(file, kind, **marked(kind))

    if path is not None:
        write_picture(path, write, inputs)
    return page


def _room(columns: int, height: int, kind: str | None) -> tuple[int, int]:
    """Return how many columns of results and how many lines a picture of a format has room for."""
    longest = LONGEST_SIDE.get(kind or "", MAX_PIXELS)
    each = round(height * WIDEST) + GAP
    columns = min(columns, (longest - 2 * MARGIN - GAP) // each - 1)
    width = 2 * MARGIN + GAP + each * (columns + 1)
    lines = (min(longest, MAX_PIXELS // width) - 2 * MARGIN) // (height + CAPTION + LINE_GAP)
    if columns < 1 or lines < 1:
        raise ValueError(f"height={height!r} pixels are too many for a picture of results.")
    return columns, lines


class _Cell:
    """An image of the page with its caption; the query's rank is None."""

    def __init__(self, picture: Picture, height: int, rank: int | None) -> None:
        self.rank = rank
        try:
            self.thumbnail = _thumbnail(picture.image, height)
        except BadImageError:  # an unreadable image gets no mark
            picture, self.thumbnail = replace(picture, relevant=None), _unreadable(height)
        self.picture = picture

    def draw(
        self,
        page: Image.Image | SvgPage,
        draw: ImageDraw.ImageDraw | SvgPage,
        x: int,
        y: int,
        room: int,
    ) -> None:
        picture, (width, height) = self.picture, self.thumbnail.size
        page.paste(self.thumbnail, (x, y))
        colour = INK
        if self.rank is None:
            heading, colour = "Query", QUERY
            _frame(draw, x, y, width, height, QUERY)
        else:
            heading = f"{self.rank}"
            if picture.score is not None:
                heading += f"   {picture.score:.3f}"
            if picture.relevant is None:
                draw.rectangle((x, y, x + width - 1, y + height - 1), outline=LINE)
        if picture.relevant is not None:
            _frame(draw, x, y, width, height, RIGHT if picture.relevant else WRONG)
            mark = _mark(picture.relevant)
            page.paste(mark, (x + 6, y + 6), mark)
        draw.text((x, y + height + 8), heading, colour, _font())
        name = printable(picture.name)
        shown, font = _lettered(name)
        if isinstance(draw, SvgPage):  # the viewer's fonts draw the letters of an SVG
            shown = name
        draw.text((x, y + height + 27), _elided(shown, room, font), FAINT, font)


def _frame(
    draw: ImageDraw.ImageDraw | SvgPage, x: int, y: int, width: int, height: int, colour: str
) -> None:
    outside = (x - FRAME - 2, y - FRAME - 2, x + width + FRAME + 1, y + height + FRAME + 1)
    draw.rectangle(outside, outline=colour, width=FRAME)


def _thumbnail(image: ImageSource, height: int) -> Image.Image:
    full = load_image(image)
    ratio = full.width / full.height
    width = round(height * min(max(ratio, NARROWEST), WIDEST))
    if NARROWEST <= ratio <= WIDEST:
        return full.resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3)
    full.thumbnail((width, height), Image.Resampling.BICUBIC, reducing_gap=3)
    return ImageOps.pad(full, (width, height), color=PANEL)


def _unreadable(height: int) -> Image.Image:
    panel = Image.new("RGB", (height, height), PANEL)
    ImageDraw.Draw(panel).text((height / 2, height / 2), "cannot be read", FAINT, _font(), "mm")
    return panel


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font."""
    return ImageFont.load_default(TEXT_SIZE)


def _lettered(text: str) -> tuple[str, ImageFont.FreeTypeFont | ImageFont.ImageFont]:
    """Return a drawable form of a text, and its font."""
    if text.isascii():
        return text, _font()
    shown, file = lettering(text)
    return shown, ImageFont.truetype(file, TEXT_SIZE)


@cache
def _mark(right: bool) -> Image.Image:
    """Return a tick or a cross, which differ in shape and not only in colour."""
    large = Image.new("RGBA", (104, 104))  # four times as large, for smooth edges
    draw = ImageDraw.Draw(large)
    draw.ellipse((0, 0, 103, 103), RIGHT if right else WRONG, "white", 6)
    if right:
        draw.line((28, 54, 46, 72, 77, 36), "white", 13, "curve")
    else:
        draw.line((34, 34, 70, 70), "white", 13)
        draw.line((34, 70, 70, 34), "white", 13)
    return large.resize((26, 26), Image.Resampling.LANCZOS)


def _elided(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Return the text, cut in the middle to fit, since both ends of a path say most."""
    if font.getlength(text) <= width:
        return text
    for length in range(len(text) - 1, 1, -1):
        short = f"{text[: length // 3]}…{text[len(text) - (length - length // 3) :]}"
        if font.getlength(short) <= width:
            return short
    return "…"
