"""The curves of a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from dolg_zoo.drawing.style import CATEGORIES, FAINT, LINE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = "os^"
PANELS = (
    ("of the batches trained on", ("loss",)),
    ("of the batches trained on", ("accuracy",)),
    ("of the validation images", ("map", "recall_at_1")),
    ("learning rate", ("learning_rate",)),
)
SHARES = {"accuracy", "map", "recall_at_1"}
LEAST_SPAN = 0.1
"""Minimum height of the axis of a share from 0 to 1, so that small changes look small."""
NAMES = {
    "share_of_start": "share of the start",
    "map": "mAP",
    "recall_at_1": "recall@1",
    "learning_rate": "learning rate",
}


def draw_curves(history: Sequence[Mapping[str, float]]) -> Figure:
    """Draw loss, accuracy, mAP, recall@1 and learning rate for each epoch.

    Args:
        history: a row per epoch, as in `TrainingResult.history` and `history.json`; epoch 0 is
            before training. Figures that no row has are left out.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    present = {name for row in history for name in row}
    panels = [(title, [n for n in names if n in present]) for title, names in PANELS]
    panels = [(title, names) for title, names in panels if names]
    figure = Figure(figsize=(4.2 * max(len(panels), 1), 3.2), layout="constrained")
    drawn = figure.subplots(1, max(len(panels), 1), squeeze=False)[0]
    for panel, (title, names) in zip(drawn, panels, strict=False):
        for name, colour, marker in zip(names, CATEGORIES, MARKERS, strict=False):
            points = [(row["epoch"], row[name]) for row in history if name in row]
            label = NAMES.get(name, name)
            panel.plot(*zip(*points, strict=True), marker, ls="-", c=colour, ms=4, label=label)
        low, high = panel.get_ylim()
        if SHARES & set(names) and high - low < LEAST_SPAN:
            panel.set_ylim((low + high - LEAST_SPAN) / 2, (low + high + LEAST_SPAN) / 2)
        panel.set_title(title, fontsize=9, color=FAINT)
        panel.set_xlabel("epoch", fontsize=9, color=FAINT)
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
        panel.tick_params(labelsize=8, colors=FAINT)
        panel.grid(color=LINE, linewidth=0.5)
        panel.spines[["top", "right"]].set_visible(False)
        panel.legend(fontsize=8, frameon=False)
    return figure
