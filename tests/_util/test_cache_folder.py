import pytest

from dolg_zoo._util.cache_folder import cache_folder


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"DOLG_ZOO_CACHE": "/one", "XDG_CACHE_HOME": "/two", "HOME": "/home"}, "/one"),
        ({"XDG_CACHE_HOME": "/two", "HOME": "/home"}, "/two/dolg-zoo"),
        ({"HOME": "/home"}, "/home/.cache/dolg-zoo"),
        ({"DOLG_ZOO_CACHE": "~/dz", "HOME": "/home"}, "/home/dz"),
        ({"XDG_CACHE_HOME": "~/x", "HOME": "/home"}, "/home/x/dolg-zoo"),
    ],
)
def test_where_the_cache_is(monkeypatch, variables, expected):
    for name in ("DOLG_ZOO_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(cache_folder()) == expected
