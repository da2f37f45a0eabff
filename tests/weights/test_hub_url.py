import pytest

from dolg_zoo.weights import parse_hub_url


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("hf://user/repo", ("user/repo", None)),
        ("hf://user/my.dolg-v2_b", ("user/my.dolg-v2_b", None)),
        ("hf://user/repo@v1.0", ("user/repo", "v1.0")),
        ("hf://user/repo@refs/pr/3", ("user/repo", "refs/pr/3")),
        ("hf://user/repo@" + "0" * 40, ("user/repo", "0" * 40)),
    ],
)
def test_a_hub_url_is_split(url, expected):
    assert parse_hub_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "user/repo",
        "hf://repo",
        "hf://user/repo/config.json",
        "hf://user/repo@",
        "hf://user/repo@../../etc",
        "hf://user/repo@a//b",
        "hf://user/repo@/etc",
        "hf://../repo",
        "hf://user/..",
        "hf://user/re po",
        "hf://user/repo\n",
        "hf://usér/repo",
        "hf://user/a..b",
    ],
)
def test_what_names_no_repository_is_refused(url):
    with pytest.raises(ValueError, match="names no Hub repository"):
        parse_hub_url(url)


def test_the_refusal_shows_the_form():
    with pytest.raises(ValueError, match=r"'user/repo' .* hf://user/repo@revision"):
        parse_hub_url("user/repo")
