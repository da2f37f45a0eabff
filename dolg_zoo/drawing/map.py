"""A map of an index: similar images are near each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from dolg_zoo._util.cosines import reaches
from dolg_zoo._util.text import printable
from dolg_zoo.drawing.style import CATEGORIES, FAINT, INK, LINE
from dolg_zoo.errors import BadImageError
from dolg_zoo.preprocessing import load_image
from dolg_zoo.preprocessing.files import folder_labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SIDE = 12.0  # inches
THUMBNAIL = 0.5  # inches
PIXELS = 96  # longer side of a thumbnail
PERPLEXITY = 30  # the usual value for t-SNE, which needs more than three times as many images
MANY = 1000  # images
MARKERS = "osD^vP*X"  # each with seven colours, for different classes
MOST_LABELS = len(MARKERS) * len(CATEGORIES)


class Described(Protocol):
    """Image files and their descriptors, such as `dolg_zoo.retrieval.Index`."""

    @property
    def names(self) -> Sequence[str]:
        """Paths of the images, relative to the folder."""

    @property
    def folder(self) -> Path:
        """The folder."""

    @property
    def descriptors(self) -> np.ndarray:
        """(images, dim), float32."""

    def __len__(self) -> int:
        """Return the number of images."""


def positions(descriptors: np.ndarray) -> np.ndarray:
    """Return positions in [0, 1]² of unit descriptors (images, dim); similar ones lie close."""
    # The first two principal components; for more than 90 different descriptors, t-SNE (van der
    # Maaten and Hinton, "Visualizing Data using t-SNE", 2008) starts from them. Descriptors that
    # differ by rounding share a position: t-SNE could separate a photograph and its copy.
    # Both axes have one scale; the shorter one is centred.
    first, group = _different(descriptors)
    layout = descriptors[first].astype(np.float64)
    layout = (_tsne if len(layout) > 3 * PERPLEXITY else _principal_components)(layout)
    low, high = layout.min(axis=0), layout.max(axis=0)
    extent = (high - low).max()
    return (0.5 + (layout - (low + high) / 2) / (extent or 1.0))[group].clip(0, 1)


def _tsne(rows: np.ndarray) -> np.ndarray:
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    tsne = TSNE(perplexity=PERPLEXITY, init="pca", random_state=0)
    threads = None
    if len(rows) > MANY:  # half the time, with as many correct neighbours
        tsne.set_params(max_iter=500, angle=0.7)
    else:  # threads would wait for each other longer than they compute
        threads = 1
    with threadpool_limits(threads):
        return tsne.fit_transform(rows).astype(np.float64)


def _different(descriptors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the first row of each group of equal descriptors, and the group of each row."""
    leaders = np.arange(len(descriptors))
    for start in range(0, len(descriptors), 256):
        equal = reaches(descriptors[start : start + 256] @ descriptors[: start + 256].T, 1)
        for row, others in enumerate(equal, start):
            earlier = np.flatnonzero(others[:row])
            # compared with the first row only: a chain of close rows is not one group
            earlier = earlier[leaders[earlier] == earlier]
            if len(earlier):
                leaders[row] = earlier[0]
    return np.unique(leaders, return_inverse=True)


def _principal_components(rows: np.ndarray) -> np.ndarray:
    left, scales, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
    components = np.zeros((len(rows), 2))
    components[:, : len(scales)] = left[:, :2] * scales[:2]
    # the sign of an axis is arbitrary: put the first row that is far from the middle on the left
    far = np.abs(components) > np.abs(components).max(axis=0) / 2
    return components * np.where(components[far.argmax(axis=0), [0, 1]] > 0, -1, 1)


def draw_map(
    gallery: Described, labels: Sequence[str] | None = None, layout: np.ndarray | None = None
) -> Figure:
    """Return a map of the images of a gallery, with as many thumbnails as fit.

    Args:
        gallery: an `Index`, for example.
        labels: label of each image, shown by colours and markers. None for the subfolders,
            if all images are in subfolders and these are not too many.
        layout: positions of the images, (images, 2) from 0 to 1; None for their `positions`.

    Raises:
        ValueError: if the gallery is empty, or there is not a label for each image.
    """
    from matplotlib.figure import Figure

    if not len(gallery):
        raise ValueError("The gallery has no image to draw on a map.")
    if labels is None:
        labels = folder_labels(gallery.names)
        if labels and len(set(labels)) > MOST_LABELS:
            labels = None
    elif len(labels) != len(gallery):
        raise ValueError(f"There are {len(labels)} labels for {len(gallery)} images.")
    figure = Figure(figsize=(SIDE, SIDE), layout="constrained")
    panel = figure.subplots()
    panel.set(xlim=(-0.04, 1.04), ylim=(-0.04, 1.04), aspect="equal")
    panel.set_axis_off()
    layout = positions(gallery.descriptors) if layout is None else layout
    styles = _styles(labels)
    for label, (colour, marker) in styles.items():
        mine = layout if labels is None else layout[[each == label for each in labels]]
        panel.scatter(
            mine[:, 0], mine[:, 1], s=22, c=colour, marker=marker, label=label, linewidths=0
        )
    for row in _spread(layout, THUMBNAIL / SIDE * 1.08):
        colour = LINE if labels is None else styles[labels[row]][0]
        _thumbnail(panel, gallery.folder / gallery.names[row], layout[row], colour)
    if labels is not None:
        _legend(figure, styles)
    figure.suptitle(
        f"{len(gallery)} images, similar ones near each other", fontsize=11, color=FAINT
    )
    return figure


def _styles(labels: Sequence[str] | None) -> dict[str, tuple[str, str]]:
    each = ["images"] if labels is None else sorted(set(labels))
    return {
        label: (CATEGORIES[n % len(CATEGORIES)], MARKERS[n // len(CATEGORIES) % len(MARKERS)])
        for n, label in enumerate(each)
    }


def _spread(layout: np.ndarray, distance: float) -> list[int]:
    """Return as many rows as possible, no two of them closer than `distance` in both axes."""
    cells: dict[tuple[int, int], list[int]] = {}
    for number, position in enumerate(layout):
        column, row = (int(part // distance) for part in position)
        near = [
            other
            for x in (column - 1, column, column + 1)
            for y in (row - 1, row, row + 1)
            for other in cells.get((x, y), ())
        ]
        if all(np.abs(layout[other] - position).max() >= distance for other in near):
            cells.setdefault((column, row), []).append(number)
    return sorted(number for cell in cells.values() for number in cell)


def _thumbnail(panel: Axes, path: Path, position: np.ndarray, colour: str) -> None:
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    try:
        image = load_image(path)
    except BadImageError:  # the file was deleted after embedding: only its marker remains
        return
    image.thumbnail((PIXELS, PIXELS), reducing_gap=2)
    # 72 points per inch, at any resolution
    shown = OffsetImage(np.asarray(image), zoom=THUMBNAIL * 72 / PIXELS, dpi_cor=True)
    frame = {"edgecolor": colour, "linewidth": 1.6, "boxstyle": "square,pad=0"}
    panel.add_artist(AnnotationBbox(shown, (position[0], position[1]), pad=0, bboxprops=frame))


def _legend(figure: Figure, styles: dict[str, tuple[str, str]]) -> None:
    from matplotlib.lines import Line2D

    marks = [
        Line2D([], [], color=colour, marker=marker, linestyle="", label=printable(label))
        for label, (colour, marker) in styles.items()
    ]
    legend = figure.legend(
        handles=marks, loc="outside lower center", ncols=5, frameon=False, labelcolor=INK
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
