"""The picture of an explanation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from dolg_zoo._util.text import printable
from dolg_zoo.drawing.style import FAINT, INK
from dolg_zoo.explaining.side import Side

WIDTH = 3.4  # width of a photograph, in inches
TITLE, BAR = 0.3, 0.9  # heights of a photograph's title and of the colour bars, in inches
TALLEST = 2.0  # a photograph with a larger ratio of height to width is drawn narrower
LONGEST = 800  # maximum side of a photograph, in pixels
ATTENTION, SPEAKS = "viridis", "PuOr_r"  # the latter is purple below 0 and orange above


def draw(sides: Sequence[Side], score: float | None) -> Figure:
    """Return a row for each photograph: the photograph, its attention, its parts of the score."""
    columns = 2 if score is None else 3
    heights = [WIDTH * min(side.image.height / side.image.width, TALLEST) for side in sides]
    total = sum(heights) + TITLE * (len(sides) + 1) + BAR
    figure = Figure(figsize=(WIDTH * columns, total), layout="constrained")
    grid = figure.add_gridspec(len(sides) + 1, columns, height_ratios=[*heights, 0.12])
    weights = [side.attention for side in sides]
    attention = Normalize(0, max(map(np.max, weights)))
    for row, side in enumerate(sides):
        photo, attended = (figure.add_subplot(grid[row, column]) for column in (0, 1))
        photo.imshow(_small(side.image))
        _dress(photo, PurePath(side.name).name)
        _over(attended, side, side.attention, ATTENTION, attention)
        _dress(attended, "attention of the local branch")
    _bar(figure.add_subplot(grid[-1, 1]), ATTENTION, attention, "weight of a position")
    if score is not None:
        _title_of_match(figure, score)
        parts = [side.places for side in sides if side.places is not None]
        scale = _scale_of_parts(sides)
        for row, (side, each) in enumerate(zip(sides, parts, strict=True)):
            speaks = figure.add_subplot(grid[row, 2])
            _over(speaks, side, each, SPEAKS, scale)
            _dress(speaks, f"local {each.sum():+.3f}, global {side.global_part:+.3f}")
        _bar(
            figure.add_subplot(grid[-1, 2]),
            SPEAKS,
            scale,
            "contribution of a position: against … for the match",
        )
    return figure


def _scale_of_parts(sides: Sequence[Side]) -> Normalize:
    """Return one scale for both parts of the score, the global part spread over all positions."""
    # so a small local part has a faint colour
    parts = [
        max(np.abs(side.places).max(), abs(side.global_part or 0) / side.places.size)
        for side in sides
        if side.places is not None
    ]
    most = float(max(parts)) or 1.0
    return Normalize(-most, most)


def _title_of_match(figure: Figure, score: float) -> None:
    figure.suptitle(
        f"cosine {score:.3f} = parts of the positions (local) + part of the whole image (global)",
        fontsize=11,
        color=INK,
    )


def _dress(panel: Axes, title: str) -> None:
    panel.set_axis_off()
    # a dollar in a name must not begin a formula
    panel.set_title(printable(title)[-48:], fontsize=9, color=FAINT, parse_math=False)


def _over(panel: Axes, side: Side, values: np.ndarray, colours: str, scale: Normalize) -> None:
    """Draw the values of positions over the grey photograph, higher values more opaque."""
    photo = _small(side.image)
    panel.imshow(photo.convert("L"), cmap="gray", vmin=0, vmax=255)
    enlarged = _enlarged(values, photo.size)
    opacity = 0.85 * np.clip(np.abs(enlarged) / (scale.vmax or 1.0), 0, 1) ** 0.5
    panel.imshow(enlarged, cmap=colours, norm=scale, alpha=opacity)


def _enlarged(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return a map resized to a photograph."""
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def _small(image: Image.Image) -> Image.Image:
    copy = image.copy()
    copy.thumbnail((LONGEST, LONGEST))
    return copy


def _bar(panel: Axes, colours: str, scale: Normalize, label: str) -> None:
    bar = panel.figure.colorbar(ScalarMappable(scale, colours), cax=panel, orientation="horizontal")
    ends = [float(scale.vmin or 0), float(scale.vmax or 0)]
    bar.set_ticks(ends, labels=[f"{end:.2g}" for end in ends])
    left, right = bar.ax.get_xticklabels()
    left.set_horizontalalignment("left")  # labels beyond the bar would shift the photographs
    right.set_horizontalalignment("right")
    bar.set_label(label, fontsize=9, color=FAINT)
    bar.ax.tick_params(labelsize=8, colors=FAINT)
    bar.outline.set_visible(False)
