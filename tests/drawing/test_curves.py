import re

import pytest

from dolg_zoo.drawing.style import save_figure
from dolg_zoo.training import draw_curves

HISTORY = [
    {"epoch": 0, "map": 0.5, "recall_at_1": 0.6},
    {"epoch": 1, "loss": 9.0, "accuracy": 0.1, "map": 0.7, "recall_at_1": 0.8, "learning_rate": 1},
    {
        "epoch": 2,
        "loss": 4.0,
        "accuracy": 0.4,
        "map": 0.6,
        "recall_at_1": 0.9,
        "learning_rate": 0.1,
    },
]


def lines(figure):
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
        for panel in figure.axes
        for line in panel.get_lines()
    }


def test_each_curve_is_what_the_history_says():
    assert lines(draw_curves(HISTORY)) == {
        "loss": ([1, 2], [9.0, 4.0]),
        "accuracy": ([1, 2], [0.1, 0.4]),
        "mAP": ([0, 1, 2], [0.5, 0.7, 0.6]),
        "recall@1": ([0, 1, 2], [0.6, 0.8, 0.9]),
        "learning rate": ([1, 2], [1, 0.1]),
    }


def test_what_was_not_measured_has_no_panel():
    history = [{"epoch": 1, "loss": 2.0, "seconds": 3.0}]
    assert lines(draw_curves(history)) == {"loss": ([1], [2.0])}


def test_a_change_of_a_thousandth_does_not_fill_the_panel():
    history = [{"epoch": 0, "map": 0.999}, {"epoch": 1, "map": 0.998}]
    low, high = draw_curves(history).axes[0].get_ylim()
    assert low < 0.998 < 0.999 < high
    assert high - low > 0.09


@pytest.mark.parametrize("history", [[], [{"epoch": 0}]])
def test_of_nothing_there_is_an_empty_picture(history, tmp_path):
    save_figure(draw_curves(history), tmp_path / "curves.png")


def test_as_svg_its_letters_are_letters(tmp_path):
    save_figure(draw_curves(HISTORY), tmp_path / "curves.svg")
    said = re.findall(r"<text[^>]*>([^<]*)</text>", (tmp_path / "curves.svg").read_text())
    assert {"loss", "mAP", "recall@1", "epoch"} <= set(said)
