import pytest

from dolg_zoo._util.text import figure_in_percent, printable, short_repr


@pytest.mark.parametrize(
    "text", ["plain.jpg", "a b.jpg", "größe 写真 😀.jpg", "[red]x[/red]", "a\\b"]
)
def test_what_can_be_printed_stays(text):
    assert printable(text) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\udcff.jpg", r"\udcff.jpg"),
        ("abc\u202egpj.exe", r"abc\u202egpj.exe"),
        ("\x9b2J", r"\x9b2J"),
    ],
)
def test_what_would_act_on_a_terminal_is_escaped(text, expected):
    assert printable(text) == expected


@pytest.mark.parametrize(
    ("figure", "expected"),
    [
        ((81.2, "mAP %"), ("81.20 %", "mAP")),
        ((0.828, "leave-one-out mAP"), ("82.80 %", "leave-one-out mAP")),
        ((1.0, "recall@1"), ("100.00 %", "recall@1")),
        ((12.5, "images/s"), ("12.5", "images/s")),
    ],
)
def test_scores_are_in_per_cent_whichever_way_they_are_stated(figure, expected):
    assert figure_in_percent(*figure) == expected


@pytest.mark.parametrize(
    "value", ["x" * 10**6, b"x" * 10**6, 10**5000, ["x" * 10**6] * 99], ids=type
)
def test_no_value_makes_a_message_long(value):
    assert len(short_repr(value)) < 700
