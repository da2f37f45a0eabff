"""A photograph is known again by its content, by the cache, the store and the index alike."""

import json
import os
import shutil
import tarfile
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from plain_embedder import PlainEmbedder

from dolg_zoo._util.hashing import sha256_of
from dolg_zoo.errors import ImagesAwayError
from dolg_zoo.retrieval import Index
from dolg_zoo.retrieval.extraction import identity
from dolg_zoo.retrieval.extraction.extract import extract
from dolg_zoo.retrieval.extraction.identity import Changes
from dolg_zoo.retrieval.extraction.store import DescriptorStore


def picture(path, number):
    """Writes one of many pictures; all files have the same size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(number)
    Image.fromarray(rng.integers(0, 256, (16, 16, 3), np.uint8)).save(path, "BMP")
    return path


@pytest.fixture
def folder(tmp_path):
    for number in range(5):
        picture(tmp_path / f"photos/{number}.bmp", number)
    return tmp_path / "photos"


def tarred(folder):
    path = folder.parent / "tar" / "s.tar"
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for file in sorted(folder.iterdir()):
            archive.add(file, file.name)
    return path


class Kept:
    """What one entry point keeps of a folder, and the counts and embedded images of an update."""

    def __init__(self, folder):
        self.folder, self.out = folder, folder.parent / "out"

    def update(self, **options):
        model = PlainEmbedder()
        changes = self._update(model, **options)
        return changes, len(model.seen)


class OfStore(Kept):
    source = property(lambda self: self.folder)

    def _update(self, model, **options):
        return extract(model, self.source, self.out, **options).changes

    def rows(self):
        ids, rows = DescriptorStore.open(self.out).read()
        return {id.removeprefix("s.tar/"): row for id, row in zip(ids, rows, strict=True)}


class OfPattern(OfStore):
    source = property(lambda self: f"{self.folder}/*")


class OfShards(OfStore):
    source = property(lambda self: tarred(self.folder))


class OfIndex(Kept):
    cache = False

    def _update(self, model, **options):
        fresh = Index.build(model, self.folder, cache=self.cache)
        if not self.out.exists():
            changes = Changes(added=len(fresh))
        else:
            index = Index.load(self.out, model)
            changes, fresh = index.update(fresh, **options), index
        fresh.save(self.out)
        return changes

    def rows(self):
        index = Index.load(self.out, PlainEmbedder())
        return dict(zip(index.names, index.descriptors, strict=True))


class OfCache(OfIndex):
    cache = True


ALL = [OfStore, OfPattern, OfShards, OfIndex, OfCache]
KEEPING = [OfStore, OfPattern, OfShards, OfCache]
"""Entry points that do not embed each time."""


@pytest.fixture
def begin(folder, monkeypatch):
    def begin(kind, racy=3 * 10**9):
        monkeypatch.setattr(identity, "RACY_NS", racy)
        time.sleep(0.02)  # times of files are as exact as the clock of the system
        kept = kind(folder)
        assert kept.update() == (Changes(added=5), 5)
        time.sleep(0.02)
        return kept

    return begin


def agree(kept):
    """Each descriptor is that of the image which has the name now."""
    paths = sorted(path for path in kept.folder.rglob("*") if path.is_file())
    rows = kept.rows()
    assert sorted(rows) == [path.relative_to(kept.folder).as_posix() for path in paths]
    for path in paths:
        expected = PlainEmbedder().embed(path)[0]
        np.testing.assert_allclose(
            rows[path.relative_to(kept.folder).as_posix()], expected, atol=1e-6
        )


def note(kept, **values):
    """Puts into the metadata of each image what a function gives for its name."""
    index = Index.load(kept.out, PlainEmbedder())
    for name, metadata in zip(index.names, index.metadata, strict=True):
        metadata |= {key: value(name) for key, value in values.items()}
    index.save(kept.out)


def metadata_of(kept):
    index = Index.load(kept.out, PlainEmbedder())
    return dict(zip(index.names, index.metadata, strict=True))


def replaced(folder):
    """Another content of the same size under the old name, with the old times, as `cp -p` does."""
    path, status = folder / "0.bmp", (folder / "0.bmp").stat()
    os.utime(picture(path, 90), ns=(status.st_atime_ns, status.st_mtime_ns))
    return Changes(changed=1, kept=4), 1


def renamed(folder):
    (folder / "0.bmp").rename(folder / "new.bmp")
    return Changes(kept=5), 0


def all_renamed(folder):
    for path in sorted(folder.iterdir()):
        path.rename(folder / f"new {path.name}")
    return Changes(kept=5), 0


def copied(folder):
    shutil.copy(folder / "0.bmp", folder / "copy.bmp")
    return Changes(added=1, kept=5), 0


def touched(folder):
    for path in folder.iterdir():
        os.utime(path, ns=(1, 1))
    return Changes(kept=5), 0


def restored(folder):
    """As from a backup, under other inodes."""
    shutil.copytree(folder, folder.parent / "backup")
    shutil.rmtree(folder)
    (folder.parent / "backup").rename(folder)
    return Changes(kept=5), 0


def swapped(folder):
    (folder / "0.bmp").rename(folder / "x")
    (folder / "1.bmp").rename(folder / "0.bmp")
    (folder / "x").rename(folder / "1.bmp")
    return Changes(changed=2, kept=3), 0


def deleted_and_added(folder):
    (folder / "0.bmp").unlink()
    picture(folder / "new.bmp", 91)
    return Changes(added=1, removed=1, kept=4), 1


EVENTS = [replaced, renamed, all_renamed, copied, touched, restored, swapped, deleted_and_added]


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize(
    ("kind", "racy"), [*((kind, 0) for kind in ALL), (OfIndex, 3 * 10**9)]
)  # the last: facts of a file cannot tell whether it changed
def test_after_an_event_all_is_as_the_folder_is(begin, folder, kind, event, racy):
    kept = begin(kind, racy)
    changes, embedded = event(folder)
    found, count = kept.update()
    assert found == changes
    assert count == embedded or kind not in KEEPING
    agree(kept)
    again, count = kept.update()
    assert again == Changes(kept=len(kept.rows())) and (count == 0 or kind not in KEEPING)


@pytest.mark.parametrize("kind", ALL)
def test_a_copy_that_is_renamed_is_kept(begin, folder, kind):
    kept = begin(kind)
    for number in (0, 1):
        shutil.copy(folder / f"{number}.bmp", folder / f"8{number}.bmp")
    assert kept.update()[0] == Changes(added=2, kept=5)
    for old, new in (("80", "5"), ("1", "6"), ("81", "7")):  # one of two copies, and both of two
        (folder / f"{old}.bmp").rename(folder / f"{new}.bmp")
    assert kept.update()[0] == Changes(kept=7)
    agree(kept)
    (folder / "6.bmp").rename(folder / "8.bmp")
    (folder / "7.bmp").unlink()
    assert kept.update()[0] == Changes(removed=1, kept=6)


@pytest.mark.parametrize("event", [renamed, all_renamed, copied, swapped, restored])
@pytest.mark.parametrize("kind", [OfIndex, OfCache])
def test_metadata_stays_with_its_photograph(begin, folder, kind, event):
    kept = begin(kind)

    def content(name):
        return (folder / name).read_bytes().hex()

    note(kept, content=content)
    event(folder)
    kept.update()
    for name, metadata in metadata_of(kept).items():
        assert metadata == {"content": content(name)}


def test_a_changed_photograph_keeps_its_metadata_unless_that_went_with_the_old(begin, folder):
    kept = begin(OfIndex)
    note(kept, title=str)
    (folder / "1.bmp").rename(folder / "old.bmp")
    for number in range(2):
        picture(folder / f"{number}.bmp", 90 + number)
    kept.update()
    metadata = metadata_of(kept)
    assert metadata["0.bmp"] == {"title": "0.bmp"} and metadata["old.bmp"] == {"title": "1.bmp"}
    assert metadata["1.bmp"] == {}


def test_of_two_copies_each_keeps_its_own_metadata_in_another_folder(begin, folder):
    kept = begin(OfIndex)
    shutil.copy(folder / "0.bmp", folder / "copy.bmp")
    kept.update()
    note(kept, title=str)
    (folder / "moved").mkdir()
    for name in ("0.bmp", "copy.bmp"):
        (folder / name).rename(folder / "moved" / name)
    kept.update()
    for name in ("0.bmp", "copy.bmp"):
        assert metadata_of(kept)[f"moved/{name}"] == {"title": name}


def link_leads_nowhere(folder):
    (folder / "far").symlink_to(folder.parent / "absent")


def disk_is_not_mounted(folder):
    (folder / "far").mkdir()


def image_is_a_link_to_nowhere(folder):
    (folder / "far").mkdir()
    (folder / "far/9.bmp").symlink_to(folder.parent / "absent")


@pytest.mark.parametrize(
    "event", [link_leads_nowhere, disk_is_not_mounted, image_is_a_link_to_nowhere]
)
@pytest.mark.parametrize("kind", [OfStore, OfIndex, OfCache])
def test_what_is_away_for_a_while_is_not_removed(begin, folder, kind, event):
    kept = begin(kind)
    picture(folder / "far/9.bmp", 9)
    kept.update()
    (folder / "far").rename(folder.parent / "away")
    event(folder)
    before = kept.rows().keys()
    if not (kind is OfStore and event is image_is_a_link_to_nowhere):  # it stays there as it is
        with pytest.raises(ImagesAwayError, match=r"photos/far.*--remove-missing"):
            kept.update()
    assert kept.rows().keys() == before
    shutil.rmtree(folder / "far") if not (folder / "far").is_symlink() else (
        folder / "far"
    ).unlink()
    (folder.parent / "away").rename(folder / "far")
    assert kept.update()[0] == Changes(kept=6)


def test_a_closed_folder_stops_the_update(begin, folder, monkeypatch):
    kept = begin(OfIndex)
    picture(folder / "far/9.bmp", 9)
    kept.update()
    scandir = os.scandir

    def closed(path):
        if os.fspath(path).endswith("far"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(ImagesAwayError, match="far': Permission denied"):
        kept.update()
    assert "far/9.bmp" in kept.rows()


@pytest.mark.parametrize("kind", ALL)
def test_more_than_half_goes_only_when_that_is_said(begin, folder, kind):
    kept = begin(kind)
    for number in range(3):
        (folder / f"{number}.bmp").unlink()
    before = {path: path.read_bytes() for path in kept.out.iterdir()}
    with pytest.raises(ImagesAwayError, match="3 of 5 images are gone at once"):
        kept.update()
    assert {path: path.read_bytes() for path in before} == before or kind is not OfIndex
    assert len(kept.rows()) == 5
    assert kept.update(remove_missing=True)[0] == Changes(removed=3, kept=2)
    agree(kept)


def test_what_a_store_has_of_other_sources_stays(begin, folder, tmp_path):
    kept = begin(OfStore)
    picture(tmp_path / "other/b.bmp", 50)
    for source in (tmp_path / "other", folder / "0.bmp", f"{folder}/[34]*"):
        assert extract(PlainEmbedder(), source, kept.out).changes.removed == 0
    assert len(kept.rows()) == 6


def test_a_changed_photograph_that_cannot_be_read_has_no_descriptor_of_the_old_one(begin, folder):
    kept = begin(OfStore)
    (folder / "0.bmp").write_bytes(b"no image")
    assert kept.update()[0] == Changes(removed=1, kept=4) and "0.bmp" not in kept.rows()


def test_a_store_of_an_earlier_version_is_brought_up_to_date(begin, folder, caplog):
    """Its parts have no column of records; what is newer than they are is embedded again."""
    kept = begin(OfStore)
    document = json.loads((kept.out / "store.json").read_text())
    (part,) = document["parts"]
    path = kept.out / part["file"]
    table = pq.read_table(path).drop_columns(["identity"])
    pq.write_table(table, path, compression="none", use_dictionary=False, write_statistics=False)
    part |= {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
    (kept.out / "store.json").write_text(json.dumps({**document, "format_version": 1}))
    time.sleep(0.02)
    picture(folder / "0.bmp", 90)
    identity.RACY_NS = 0  # put back by the fixture
    assert kept.update() == (Changes(changed=1, kept=4), 1)
    agree(kept)
    assert len(caplog.records) == 1 and str(kept.out) in caplog.text
    assert kept.update() == (Changes(kept=5), 0) and len(caplog.records) == 1


def test_an_index_of_an_earlier_version_keeps_its_metadata(begin, folder, caplog):
    kept = begin(OfIndex)
    note(kept, title=str)
    index = Index.load(kept.out, PlainEmbedder())
    index.identities = [""] * 5
    index.save(kept.out)
    (folder / "0.bmp").rename(folder / "new.bmp")
    assert kept.update()[0] == Changes(kept=5)
    assert metadata_of(kept)["new.bmp"] == {"title": "0.bmp"}
    index = Index.load(kept.out, PlainEmbedder())
    assert all(index.identities) and len(caplog.records) == 1
