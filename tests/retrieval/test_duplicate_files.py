"""Which file of a group of copies stays, and where the others go."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from PIL import Image

from dolg_zoo.retrieval import Match
from dolg_zoo.retrieval.duplicate_files import keeper, put_aside


def picture(path, size=(8, 6), time=1000, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (seed, 0, 0)).save(path)
    os.utime(path, (time, time))
    return path


def group_of(folder, *names):
    return [Match(name, folder / name, 1.0) for name in names]


@pytest.fixture
def group(tmp_path):
    picture(tmp_path / "in" / "a.png", (9, 9), time=3000)
    picture(tmp_path / "in" / "b.png", (8, 12), time=2000)
    picture(tmp_path / "in" / "c.bmp", (10, 8), time=1000)
    return group_of(tmp_path / "in", "a.png", "b.png", "c.bmp")


# 81, 96 and 80 pixels
@pytest.mark.parametrize(("keep", "name"), [("largest", 1), ("oldest", 2), ("first", 0)])
def test_the_keeper_is_the_one_that_was_asked_for(group, keep, name):
    assert keeper(group, keep) == name


@pytest.mark.parametrize("keep", ["largest", "oldest", "first"])
def test_what_is_gone_damaged_or_a_link_is_kept_only_where_nothing_else_is(group, keep):
    group[0].path.unlink()
    group[1].path.write_bytes(b"no image")
    os.utime(group[1].path, (1, 1))
    (group[2].path.parent / "0.bmp").symlink_to("c.bmp")
    of_four = [Match("0.bmp", group[2].path.parent / "0.bmp", 1.0), *group]
    assert of_four[keeper(of_four, keep)].name == "c.bmp"
    assert keeper(group[:2], keep) == 1


def test_among_equals_the_first_is_kept(tmp_path):
    names = ["x.png", "y.png"]
    for name in names:
        picture(tmp_path / name)
    for keep in ("largest", "oldest", "first"):
        assert keeper(group_of(tmp_path, *names), keep) == 0


def test_another_rule_is_refused(group):
    with pytest.raises(ValueError, match=r"largest, oldest, first.*newest"):
        keeper(group, "newest")


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(params=["links", "no links"])
def any_disk(request, monkeypatch):
    """A disk without hard links, or another disk, has to be copied to."""
    if request.param == "no links":

        def refuse(*_, **__):
            raise OSError(errno.EXDEV, "Invalid cross-device link")

        monkeypatch.setattr(os, "link", refuse)


def test_files_move_with_their_folders_bytes_and_times(tmp_path, any_disk):
    source = picture(tmp_path / "in" / "far" / "a.png", time=1234)
    data = source.read_bytes()
    failed = put_aside(group_of(tmp_path / "in", "far/a.png"), tmp_path / "out", "move")
    assert failed == {} and not source.exists()
    assert contents(tmp_path / "out") == {"far/a.png": data}
    assert (tmp_path / "out/far/a.png").stat().st_mtime == 1234


def test_nothing_is_ever_overwritten(tmp_path, any_disk):
    for seed, taken in enumerate(["a.png", "a (2).png"]):
        picture(tmp_path / "out" / taken, seed=100 + seed)
    there = contents(tmp_path / "out")
    source = picture(tmp_path / "in" / "a.png", seed=7)
    data = source.read_bytes()
    assert put_aside(group_of(tmp_path / "in", "a.png"), tmp_path / "out", "move") == {}
    assert contents(tmp_path / "out") == {**there, "a (3).png": data}


def test_links_lead_to_the_files_which_stay_and_a_second_run_changes_nothing(tmp_path):
    picture(tmp_path / "in" / "far" / "a.png")
    before = contents(tmp_path / "in")
    for _ in range(2):
        assert put_aside(group_of(tmp_path / "in", "far/a.png"), tmp_path / "out", "link") == {}
        assert contents(tmp_path / "in") == before
        assert [p for p in (tmp_path / "out").rglob("*") if not p.is_dir()] == [
            tmp_path / "out/far/a.png"
        ]
    assert (tmp_path / "out/far/a.png").is_symlink()
    assert (tmp_path / "out/far/a.png").read_bytes() == before["far/a.png"]


def test_a_link_among_the_files_leads_to_the_same_file_after_the_move(tmp_path):
    picture(tmp_path / "in" / "b.png", seed=5)
    picture(tmp_path / "in" / "kept.png", seed=6)
    for name, leads_to in (("a.png", "b.png"), ("c.png", "kept.png")):
        (tmp_path / "in" / name).symlink_to(leads_to)
    of = {name: (tmp_path / "in" / name).read_bytes() for name in ("b.png", "kept.png")}
    names = group_of(tmp_path / "in", "a.png", "b.png", "c.png")
    assert put_aside(names, tmp_path / "out", "move") == {}
    assert contents(tmp_path / "in") == {"kept.png": of["kept.png"]}
    moved = contents(tmp_path / "out")
    assert moved == {"a.png": of["b.png"], "b.png": of["b.png"], "c.png": of["kept.png"]}


def test_what_cannot_be_moved_stays_and_is_named_and_the_others_are_moved(
    tmp_path, any_disk, monkeypatch
):
    names = ["gone.png", "locked/a.png", "open.png"]
    for name in names[1:]:
        picture(tmp_path / "in" / name)
    unlink = Path.unlink

    def refuse(self, *arguments, **options):
        if self.parent.name == "locked" and self.parent.parent.name == "in":
            raise PermissionError(errno.EACCES, "Permission denied", str(self))
        return unlink(self, *arguments, **options)

    monkeypatch.setattr(Path, "unlink", refuse)
    failed = put_aside(group_of(tmp_path / "in", *names), tmp_path / "out", "move")
    assert failed.keys() == {"gone.png", "locked/a.png"}
    assert "No such file" in failed["gone.png"] and "Permission denied" in failed["locked/a.png"]
    assert contents(tmp_path / "in").keys() == {"locked/a.png"}
    assert contents(tmp_path / "out").keys() == {"open.png"}


def test_a_disk_that_becomes_full_loses_nothing(tmp_path, any_disk, monkeypatch):
    picture(tmp_path / "in" / "a.png")
    before = contents(tmp_path / "in")

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "link", full)
    monkeypatch.setattr(shutil, "copyfileobj", full)
    failed = put_aside(group_of(tmp_path / "in", "a.png"), tmp_path / "out", "move")
    assert "No space left" in failed["a.png"]
    assert contents(tmp_path / "in") == before and contents(tmp_path / "out") == {}
