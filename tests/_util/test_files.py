"""Files and folders that are there whole or not at all, whatever happens while they are written."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from dolg_zoo._util.files import (
    put,
    remove_unfinished,
    replacing,
    replacing_folder,
    scratch_folder,
    user_path,
)

KILLED = """
import os, sys
from pathlib import Path
from dolg_zoo._util.files import replacing, replacing_folder
path = Path(sys.argv[2])
if sys.argv[1] == "file":
    with replacing(path) as file:
        file.write(b"half")
        file.flush()
        os._exit(9)
with replacing_folder(path) as made:
    (made / "a").write_text("half")
    os._exit(9)
"""


def files_in(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def folder_of(path: Path, **texts: str) -> Path:
    path.mkdir(parents=True)
    for name, text in texts.items():
        (path / name).write_text(text)
    return path


def killed(kind: str, path: Path) -> None:
    run = subprocess.run([sys.executable, "-c", KILLED, kind, str(path)], check=False)
    assert run.returncode == 9


def test_a_file_is_replaced_by_the_whole_new_one(tmp_path):
    path = tmp_path / "f"
    path.write_text("old")
    with replacing(path) as file:
        file.write(b"new")
        assert path.read_text() == "old"
    assert files_in(tmp_path) == {"f": "new"}


def test_a_folder_is_replaced_by_the_whole_new_one(tmp_path):
    path = folder_of(tmp_path / "f", a="old", b="old")
    with replacing_folder(path) as made:
        (made / "a").write_text("new")
        assert files_in(path) == {"a": "old", "b": "old"}
    assert files_in(tmp_path) == {"f/a": "new"}


def test_a_folder_and_those_above_it_are_made(tmp_path):
    with replacing_folder(tmp_path / "x" / "y" / "f") as made:
        (made / "a").write_text("new")
    assert files_in(tmp_path) == {"x/y/f/a": "new"}


@pytest.mark.parametrize("replaces", [replacing, replacing_folder])
def test_after_an_error_the_old_is_there_and_nothing_else(tmp_path, replaces):
    path = tmp_path / "f"
    path.write_text("old") if replaces is replacing else folder_of(path, a="old")
    before = files_in(tmp_path)
    with pytest.raises(KeyboardInterrupt), replaces(path):
        raise KeyboardInterrupt
    assert files_in(tmp_path) == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["f"]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_after_a_kill_the_old_is_there_and_a_day_later_nothing_else(tmp_path, kind):
    path = tmp_path / "f"
    path.write_text("old") if kind == "file" else folder_of(path, a="old")
    before = files_in(tmp_path)
    killed(kind, path)
    (left,) = [entry for entry in tmp_path.iterdir() if entry.name != "f"]
    assert left.name[0] == "."
    remove_unfinished(tmp_path, older_than_s=3600)  # another process may be writing it
    assert left.exists()
    yesterday = time.time() - 25 * 3600
    os.utime(left, (yesterday, yesterday))
    with replacing(tmp_path / "g") as file:
        file.write(b"new")
    assert files_in(tmp_path) == {**before, "g": "new"}


def test_what_others_named_is_not_removed(tmp_path):
    for name in (".dolg-mine.tmp", "dolg-1-00000000.tmp", ".dolg-1-00000000", ".lock"):
        (tmp_path / name).write_text("keep")
    before = files_in(tmp_path)
    remove_unfinished(tmp_path)
    assert files_in(tmp_path) == before


def test_a_link_that_looks_unfinished_is_not_followed(tmp_path):
    elsewhere = folder_of(tmp_path / "elsewhere", a="keep")
    folder = folder_of(tmp_path / "here")
    (folder / ".dolg-1-00000000.tmp").symlink_to(elsewhere, target_is_directory=True)
    remove_unfinished(folder)
    assert not list(folder.iterdir())
    assert files_in(elsewhere) == {"a": "keep"}


def test_the_file_behind_a_link_is_written_and_the_link_stays(tmp_path):
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    with replacing(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "new"


def test_put_replaces_a_link_and_not_what_it_leads_to(tmp_path):
    # such as those of the Hub's cache, which lead to files that are named by their sha256
    (tmp_path / "target").write_text("old")
    (tmp_path / "link").symlink_to("target")
    with scratch_folder(tmp_path / "link") as scratch:
        (scratch / "made").write_text("new")
        put(scratch / "made", tmp_path / "link")
    assert files_in(tmp_path) == {"link": "new", "target": "old"}


def test_a_folder_takes_the_place_of_a_file(tmp_path):
    (tmp_path / "f").write_text("old")
    with replacing_folder(tmp_path / "f") as made:
        (made / "a").write_text("new")
    assert files_in(tmp_path) == {"f/a": "new"}


@pytest.mark.parametrize(("keeps", "text"), [(True, "theirs"), (False, "ours")])
def test_what_another_process_put_there_meanwhile_can_be_kept(tmp_path, keeps, text):
    path = tmp_path / "f"
    asked = []

    def keep_if(there: Path) -> bool:
        asked.append(files_in(there))
        return keeps

    with replacing_folder(path, keep_if) as made:
        (made / "a").write_text("ours")
        folder_of(path, a="theirs")
    assert asked == [{"a": "theirs"}]
    assert files_in(tmp_path) == {"f/a": text}


def test_if_the_new_folder_cannot_be_moved_the_old_one_is_moved_back(tmp_path, monkeypatch):
    path = folder_of(tmp_path / "f", a="old")
    rename = Path.rename

    def fails(self, target):
        if self.name == "new":
            raise OSError(5, "Input/output error", str(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="Input/output"), replacing_folder(path) as made:
        (made / "a").write_text("new")
    assert files_in(tmp_path) == {"f/a": "old"}


def test_an_error_names_the_file_that_was_asked_for(tmp_path):
    missing = tmp_path / "nowhere" / "f"
    with pytest.raises(FileNotFoundError, match="nowhere/f'") as caught, replacing(missing):
        raise AssertionError
    assert ".dolg-" not in str(caught.value)
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError), replacing(tmp_path / "folder" / ".") as file:
        file.write(b"x")


FULL = OSError(errno.ENOSPC, "No space left on device")
FULL_IN_HDF5 = OSError(
    "Can't write data (file write failed: fd = 4, errno = 28, error message = …)"
)


@pytest.mark.parametrize("error", [FULL, FULL_IN_HDF5], ids=["system", "HDF5"])
@pytest.mark.parametrize("replaces", [replacing, replacing_folder])
def test_a_full_disk_is_said_with_the_name_of_the_file(tmp_path, replaces, error):
    with (
        pytest.raises(OSError, match=r"No space left on device: .*out\.bin'$") as raised,
        replaces(tmp_path / "out.bin"),
    ):
        raise error
    assert raised.value.errno == errno.ENOSPC and not list(tmp_path.iterdir())


def test_other_errors_within_are_left_as_they_are(tmp_path):
    with pytest.raises(OSError, match=r"^a socket is gone$"), replacing(tmp_path / "out.bin"):
        raise OSError("a socket is gone")


def test_each_byte_is_on_the_disk_before_the_move(tmp_path, monkeypatch):
    events = []
    fsync, rename, replace = os.fsync, Path.rename, Path.replace

    def synced(descriptor):
        events.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def moved(move):
        def call(self, target):
            events.append("moved")
            return move(self, target)

        return call

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("the name of an open file is read from /proc")
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", moved(rename))
    monkeypatch.setattr(Path, "replace", moved(replace))
    with replacing_folder(tmp_path / "f") as made:
        (made / "sub").mkdir()
        for name in ("a", "sub/b"):
            (made / name).write_text(name)
    assert sorted(events[:2]) == ["a", "b"]
    assert events[2:] == ["moved"]
    events.clear()
    with replacing(tmp_path / "g") as file:
        file.write(b"x")
    assert len(events) == 2
    assert events[1] == "moved"


def test_a_file_that_may_only_be_read_is_replaced_and_keeps_its_rights():
    # its folder may be written to, which is all that a move asks for
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    path = folder / "f"
    user = os.geteuid()
    try:
        if user == 0:  # who may write to any file
            os.seteuid(65534)
        path.write_text("old")
        path.chmod(0o444)
        with replacing(path) as file:
            Path(file.name).chmod(0o444)
            file.write(b"new")
        assert path.read_text() == "new"
        assert path.stat().st_mode & 0o777 == 0o444
    finally:
        os.seteuid(user)
        shutil.rmtree(folder)


def test_a_tilde_is_the_home_folder_as_in_a_shell(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("~/a/b", Path("~/a/b")):
        assert user_path(given) == tmp_path / "a" / "b"
    assert user_path("~") == tmp_path
    for given in ("a/~/b", "a~", "~no such user/b", "/a"):
        assert user_path(given) == Path(given)


def test_a_path_that_begins_with_a_tilde_can_still_be_named(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/elsewhere")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~").mkdir()
    assert user_path("./~/new").absolute() == tmp_path / "~/new"
    assert user_path(Path("./~")).absolute() == tmp_path / "~"  # which pathlib writes as ~


def test_a_file_is_written_into_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    with replacing("~/a.txt") as file:
        file.write(b"a")
    assert (tmp_path / "a.txt").read_bytes() == b"a"
