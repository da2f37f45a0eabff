import json
import logging
import os
import shutil

import numpy as np
import pytest
from bounds import DESCRIPTOR
from PIL import Image

from dolg_zoo import DOLG
from dolg_zoo.preprocessing import Crop
from dolg_zoo.retrieval import Index
from dolg_zoo.retrieval.extraction import descriptor_cache as cache_module
from dolg_zoo.retrieval.extraction import extract as extraction
from dolg_zoo.retrieval.extraction.descriptor_cache import describe_files
from dolg_zoo.retrieval.extraction.store import DescriptorStore, descriptor_store


@pytest.fixture
def build(model, photos):
    return lambda **options: Index.build(model, photos, cache=True, **options)


def the_store(cache_dir):
    (path,) = (cache_dir / "descriptors").iterdir()
    return path


def cached_names(cache_dir):
    return [json.loads(id)[0] for id in DescriptorStore.open(the_store(cache_dir)).ids()]


def test_a_second_build_embeds_nothing_and_gives_the_same(build, embedded_images):
    first = build()
    assert len(embedded_images) == 4
    second = build()
    assert len(embedded_images) == 4
    assert second.names == first.names and second.reused == 4
    np.testing.assert_array_equal(second.descriptors, first.descriptors)


def test_without_cache_nothing_is_kept(model, photos, cache_dir):
    Index.build(model, photos)
    assert not cache_dir.exists()


def test_a_renamed_folder_keeps_its_cache(build, photos, model, cache_dir, embedded_images):
    before = build()
    for name in ("renamed", "again"):
        photos = photos.rename(photos.with_name(name))
        del embedded_images[:]
        index = Index.build(model, photos, cache=True)
        assert embedded_images == [] and index.names == before.names
        np.testing.assert_array_equal(index.descriptors, before.descriptors)
        assert the_store(cache_dir)


def test_a_folder_that_is_still_there_keeps_its_cache_too(build, photos, model, embedded_images):
    build()
    shutil.copytree(photos, photos.with_name("copy"))  # with the times of the files
    Index.build(model, photos.with_name("copy"), cache=True)
    del embedded_images[:]
    build()
    assert embedded_images == []


def test_a_folder_of_other_images_takes_no_cache_of_one_that_is_gone(
    build, photos, model, cache_dir, embedded_images
):
    build()
    shutil.copytree(photos, photos.with_name("other"))
    shutil.rmtree(photos)
    for path in photos.with_name("other").rglob("*.png"):
        Image.open(path).rotate(90).save(path)
    del embedded_images[:]
    Index.build(model, photos.with_name("other"), cache=True)
    assert len(embedded_images) == 4 and len([*(cache_dir / "descriptors").iterdir()]) == 2


def test_outdated_descriptors_are_dropped_once_they_are_most(
    build, photos, cache_dir, monkeypatch, embedded_images
):
    monkeypatch.setattr(cache_module, "SPARE", 1)
    build()
    for name in ("astronaut.png", "coffee.png"):
        (photos / name).unlink()
    build()
    assert len(cached_names(cache_dir)) == 4  # they are half
    (photos / "rocket.png").unlink()
    Image.open(photos / "far/chelsea.png").rotate(90).save(photos / "copy.png")
    del embedded_images[:]
    index = build()
    assert sorted(cached_names(cache_dir)) == sorted(index.names) == ["copy.png", "far/chelsea.png"]
    assert embedded_images == ["copy.png"]
    assert build().reused == 2


def test_many_small_files_become_one(build, photos, cache_dir, monkeypatch, embedded_images):
    monkeypatch.setattr(cache_module, "FILES", 2)
    monkeypatch.setattr(extraction, "PART_ROWS", 1)
    before = build()
    assert len(list(the_store(cache_dir).glob("part-*"))) == 4
    after = build()
    assert len(list(the_store(cache_dir).glob("part-*"))) == 1
    assert len(embedded_images) == 4
    np.testing.assert_array_equal(after.descriptors, before.descriptors)


def test_what_an_evaluation_embeds_of_a_part_of_the_folder_stays(build, model, photos, cache_dir):
    build()
    images = {"a query": Crop(photos / "coffee.png", (0, 0, 50, 50)), "b": photos / "coffee.png"}
    images["a twin"] = images["a query"]
    found = describe_files(model, images, photos)
    assert found.reused == 1
    assert sorted(found.names) == sorted(images)
    rows = dict(zip(found.names, np.concatenate([*found.parts()]), strict=True))
    np.testing.assert_array_equal(rows["a query"], rows["a twin"])
    np.testing.assert_allclose(rows["a query"], model.embed(images["a query"])[0], atol=DESCRIPTOR)
    assert build().reused == 4


def test_a_bad_image_is_tried_again_each_time(build, photos, embedded_images):
    (photos / "bad.jpg").write_text("no image")
    build()
    del embedded_images[:]
    assert list(build().skipped) == ["bad.jpg"]
    assert embedded_images == ["bad.jpg"]


def test_another_model_other_scales_and_another_version_are_kept_apart(
    build, model, photos, monkeypatch, embedded_images
):
    one, two = build(), build(scales=(0.5, 1.0))
    assert len(embedded_images) == 8
    assert not np.allclose(one.descriptors, two.descriptors)
    other = DOLG.from_config(model.get_config())  # of other random weights
    assert other.model_id != model.model_id
    assert Index.build(other, photos, cache=True).reused == 0
    monkeypatch.setattr(cache_module, "__version__", "999")
    assert build().reused == 0


def test_names_that_are_no_text_are_kept(build, photos, embedded_images):
    (photos / "coffee.png").rename(photos / os.fsdecode(b"\xff\n.png"))
    build()
    del embedded_images[:]
    assert build().reused == 4 and embedded_images == []


def change(name, new_bytes):
    def damage(store):
        (store / name).write_bytes(new_bytes((store / name).read_bytes()))

    return damage


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def other_dimension(store):
    shutil.rmtree(store)
    other = DescriptorStore.create(store, model_id="m", model_name="m", dim=8, scales=(1.0,))
    other.append(["[]"], np.ones((1, 8), np.float32))


PART = "part-000000.parquet"


@pytest.mark.parametrize(
    "damage",
    [
        lambda store: (store / PART).unlink(),
        change(PART, lambda content: b"text"),
        lambda store: (store / "store.json").unlink(),
        change("store.json", lambda content: content[:-50]),
        other_dimension,
    ],
    ids=["no part", "text", "no json", "cut json", "dimension"],
)
def test_a_damaged_cache_heals_without_a_warning(build, cache_dir, embedded_images, caplog, damage):
    before = build()
    damage(the_store(cache_dir))
    with caplog.at_level(logging.WARNING):
        after = build()
    assert len(embedded_images) == 8 and not caplog.records
    np.testing.assert_allclose(after.descriptors, before.descriptors, atol=DESCRIPTOR)
    assert build().reused == 4


def test_a_cache_that_cannot_be_written_costs_one_warning(build, cache_dir, caplog, monkeypatch):
    monkeypatch.setattr(extraction, "PART_S", 0)  # though it is tried for each image
    cache_dir.write_text("a file where the folder should be")
    assert len(build()) == 4
    (record,) = caplog.records
    assert "DOLG_ZOO_CACHE" in record.getMessage()


def test_a_full_disk_costs_one_warning_and_leaves_no_rubbish(build, cache_dir, caplog, monkeypatch):
    fsync = os.fsync

    def full_disk(descriptor):
        if os.fstat(descriptor).st_size > 2000:  # a part, and not store.json
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full_disk)
    monkeypatch.setattr(extraction, "PART_ROWS", 1)
    assert len(build()) == 4
    assert len(caplog.records) == 1 and "DOLG_ZOO_CACHE" in caplog.text
    assert {path.name for path in the_store(cache_dir).iterdir()} <= {".lock", "store.json"}


def test_a_cache_that_may_only_be_read_is_read(build, model, photos, caplog, monkeypatch):
    expected = build()

    def refuse(*arguments):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(descriptor_store, "_lock", refuse)
    assert build().reused == 4 and not caplog.records
    Image.open(photos / "coffee.png").rotate(90).save(photos / "turned.png")
    index = build()
    assert len(index) == 5 and index.reused == 4
    assert len(caplog.records) == 1
    np.testing.assert_array_equal(index.descriptors[:4], expected.descriptors)


def test_two_processes_may_embed_the_same_folder_at_once(build, model, photos, cache_dir, caplog):
    embed_each = DOLG.embed_each

    class Other(DOLG):
        """Between its first two images, another process embeds the whole folder."""

        def embed_each(self, images, **options):
            for turn, result in enumerate(embed_each(self, images, **options)):
                if turn == 1:
                    build()
                yield result

    other = Other(model.net, model.image_converter, model.metadata)
    index = Index.build(other, photos, cache=True)
    assert len(index) == 4 and not caplog.records
    np.testing.assert_allclose(index.descriptors, model.embed(photos), atol=DESCRIPTOR)
    assert len(cached_names(cache_dir)) == 4
    assert build().reused == 4


def test_a_damaged_part_costs_its_own_images_alone(build, cache_dir, monkeypatch, embedded_images):
    monkeypatch.setattr(extraction, "PART_ROWS", 1)
    build()
    change("part-000002.parquet", flipped)(the_store(cache_dir))
    del embedded_images[:]
    assert build().reused == 3
    assert len(embedded_images) == 1


def test_without_a_home_nothing_is_kept_and_that_is_said(build, monkeypatch, tmp_path, caplog):
    for name in ("DOLG_ZOO_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as it does then
    monkeypatch.chdir(tmp_path)
    assert len(build()) == 4
    assert len(caplog.records) == 1 and "DOLG_ZOO_CACHE" in caplog.records[0].getMessage()
    assert not (tmp_path / "~").exists()


@pytest.mark.parametrize("id", ["no JSON", "[]", '["a.jpg", 1, 2]', '[{"a": 1}, 1, 2, null]', "7"])
def test_an_id_that_is_not_ours_costs_no_search(build, cache_dir, monkeypatch, id):
    monkeypatch.setattr(cache_module, "SPARE", 0)
    build()
    store = DescriptorStore.open(the_store(cache_dir))
    more = 5  # most of the store
    store.append([f"{id}{' ' * n}" for n in range(more)], np.ones((more, store.dim), np.float32))
    assert build().reused == 4
    assert len(DescriptorStore.open(the_store(cache_dir))) == 4
