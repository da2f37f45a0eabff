"""The picture of an explanation."""

from __future__ import annotations

from pathlib import PurePath

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from PIL import Image

from dolg_zoo.explaining.explanation import Explanation, Side
from dolg_zoo.figures import FAINT, INK

SIDE = 3.4  # inches of a photograph's longer side
LONGEST = 800  # pixels of it, at most
ATTENTION, SPEAKS = "viridis", "PuOr_r"  # the latter is purple below 0 and orange above


def draw(explanation: Explanation) -> Figure:
    """A line for each photograph: as it is, its attention, and what of it speaks for the match."""
    sides = explanation.sides
    columns = 2 if explanation.score is None else 3
    figure = Figure(figsize=(SIDE * columns, (SIDE + 0.5) * len(sides)), layout="constrained")
    panels = figure.subplots(len(sides), columns, squeeze=False)
    for panel in panels.flat:
        panel.set_axis_off()
    weights = [side.attention for side in sides]
    attention = Normalize(min(map(np.min, weights)), max(map(np.max, weights)))
    for row, side in zip(panels, sides, strict=True):
        row[0].imshow(_small(side.image))
        _title(row[0], PurePath(side.name).name)
        _over(row[1], side, side.attention, ATTENTION, attention)
        _title(row[1], "attention of the local branch")
    if explanation.score is not None:
        _title_of_match(figure, explanation)
        most = max(np.abs(side.places).max() for side in sides) or 1.0
        for row, side in zip(panels, sides, strict=True):
            # nothing is laid over what does not count
            opacity = np.abs(side.places) / most
            _over(row[2], side, side.places, SPEAKS, Normalize(-most, most), opacity)
            _title(
                row[2],
                f"local {side.places.sum():+.3f}, global {side.global_part:+.3f}",
            )
        _bar(figure, panels[:, 2], SPEAKS, Normalize(-most, most), "against the match … for it")
    _bar(figure, panels[:, 1], ATTENTION, attention, "weight of a place")
    return figure


def _title_of_match(figure: Figure, explanation: Explanation) -> None:
    figure.suptitle(
        f"cosine {explanation.score:.3f} = what the places add (local) + what the whole adds"
        " (global)",
        fontsize=11,
        color=INK,
    )


def _title(panel: Axes, text: str) -> None:
    # a name may have a dollar in it, which is no formula
    panel.set_title(text[-48:], fontsize=9, color=FAINT, parse_math=False)


def _over(
    panel: Axes,
    side: Side,
    values: np.ndarray,
    colours: str,
    scale: Normalize,
    opacity: np.ndarray | float = 0.6,
) -> None:
    """Values of places, laid over the grey photograph that they are of."""
    photo = _small(side.image)
    panel.imshow(photo.convert("L"), cmap="gray", vmin=0, vmax=255)
    extent = (-0.5, photo.width - 0.5, photo.height - 0.5, -0.5)
    if isinstance(opacity, np.ndarray):
        opacity = _enlarged(opacity, photo.size).clip(0, 1) ** 0.5
    panel.imshow(
        _enlarged(values, photo.size), cmap=colours, norm=scale, alpha=opacity, extent=extent
    )


def _enlarged(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A map brought to the size of a photograph."""
    image = Image.fromarray(values.astype(np.float32))
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def _small(image: Image.Image) -> Image.Image:
    copy = image.copy()
    copy.thumbnail((LONGEST, LONGEST))
    return copy


def _bar(figure: Figure, panels: np.ndarray, colours: str, scale: Normalize, label: str) -> None:
    bar = figure.colorbar(
        ScalarMappable(scale, colours),
        ax=list(panels),
        location="bottom",
        fraction=0.05,
        pad=0.02,
    )
    bar.set_label(label, fontsize=9, color=FAINT)
    bar.ax.tick_params(labelsize=8, colors=FAINT)
    bar.outline.set_visible(False)
