from dolg_zoo._util.modules import is_installed


def test_a_package_is_installed_and_a_misspelt_one_is_not():
    assert is_installed("numpy") and not is_installed("numpi")


def test_a_folder_of_that_name_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "harbour").mkdir()
    (tmp_path / "harbour" / "photo.jpg").write_bytes(b"")
    monkeypatch.syspath_prepend(tmp_path)
    assert not is_installed("harbour")
