import pytest

from dolg_zoo._util.text import printable


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
