import logging
import os
import threading

import numpy as np
import pytest
from bounds import DESCRIPTOR
from PIL import Image

from dolg_zoo import DOLG
from dolg_zoo.retrieval import Index
from dolg_zoo.retrieval.extraction import folder as index_module
from dolg_zoo.retrieval.extraction import folder_cache as cache_module
from dolg_zoo.retrieval.extraction.folder_cache import read_cache, write_cache


@pytest.fixture
def build(model, photos):
    return lambda **options: Index.build(model, photos, cache=True, **options)


def the_file(folder):
    (path,) = folder.iterdir()
    return path


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


def test_a_new_file_alone_is_embedded(build, photos, embedded_images):
    build()
    del embedded_images[:]
    Image.open(photos / "coffee.png").rotate(90).save(photos / "turned.png")
    assert len(build()) == 5
    assert embedded_images == ["turned.png"]


def test_a_changed_file_alone_is_embedded_anew(build, photos, embedded_images, model):
    build()
    del embedded_images[:]
    Image.open(photos / "rocket.png").rotate(90).save(photos / "coffee.png")
    index = build()
    assert embedded_images == ["coffee.png"]
    np.testing.assert_allclose(
        index.descriptors[1], model.embed(photos / "coffee.png")[0], atol=DESCRIPTOR
    )


def test_a_change_that_keeps_the_size_shows_in_the_time(build, photos, embedded_images):
    build()
    del embedded_images[:]
    os.utime(photos / "coffee.png", ns=(0, 1_234_567_891))
    build()
    assert embedded_images == ["coffee.png"]


def test_a_removed_file_is_dropped(build, photos, cache_dir):
    build()
    (photos / "coffee.png").unlink()
    assert "coffee.png" not in build().names
    with np.load(the_file(cache_dir)) as file:
        assert "coffee.png" not in file["names"]


def test_a_bad_image_is_tried_again_each_time(build, photos, embedded_images):
    (photos / "bad.jpg").write_text("no image")
    build()
    del embedded_images[:]
    assert list(build().skipped) == ["bad.jpg"]
    assert embedded_images == ["bad.jpg"]


def test_other_scales_are_kept_apart(build, embedded_images):
    one, two = build(), build(scales=(0.5, 1.0))
    assert len(embedded_images) == 8
    assert not np.allclose(one.descriptors, two.descriptors)


def test_another_models_descriptors_are_kept_apart(build, model, photos, embedded_images):
    build()
    other = DOLG.from_config(model.get_config())  # of other random weights
    assert other.model_id != model.model_id
    assert Index.build(other, photos, cache=True).reused == 0


def test_names_that_are_no_text_are_kept(build, photos, embedded_images):
    (photos / "coffee.png").rename(photos / os.fsdecode(b"\xff\n.png"))
    build()
    del embedded_images[:]
    assert build().reused == 4 and embedded_images == []


def object_array(path):
    with np.load(path) as file:
        np.savez(path, **{**dict(file), "names": np.array([{}])})


def other_dimension(path):
    with np.load(path) as file:
        np.savez(path, **{**dict(file), "descriptors": file["descriptors"][:, :8]})


def flip_in_descriptors(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"text"),
        lambda path: path.write_bytes(path.read_bytes()[:-50]),
        flip_in_descriptors,
        object_array,
        other_dimension,
    ],
    ids=["empty", "text", "cut", "flipped", "pickle", "dimension"],
)
def test_a_damaged_cache_heals_without_a_warning(build, cache_dir, embedded_images, caplog, damage):
    before = build()
    damage(the_file(cache_dir))
    with caplog.at_level(logging.WARNING):
        after = build()
    assert len(embedded_images) == 8 and not caplog.records
    np.testing.assert_allclose(after.descriptors, before.descriptors, atol=DESCRIPTOR)
    assert build().reused == 4


def test_a_cache_that_cannot_be_written_costs_one_warning(build, cache_dir, caplog):
    cache_dir.write_text("a file where the folder should be")
    assert len(build()) == 4
    (record,) = caplog.records
    assert "DOLG_ZOO_CACHE" in record.getMessage()


def test_a_full_disk_costs_one_warning_and_leaves_no_rubbish(build, cache_dir, caplog, monkeypatch):
    def full_disk(file, **arrays):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    assert len(build()) == 4
    assert len(caplog.records) == 1 and list(cache_dir.iterdir()) == []


def test_what_was_embedded_before_an_interruption_is_kept(
    build, model, monkeypatch, embedded_images
):
    embed_each = DOLG.embed_each

    def interrupted(self, images, **options):
        for turn, result in enumerate(embed_each(self, images, **options)):
            if turn == 3:
                raise KeyboardInterrupt
            yield result

    with monkeypatch.context() as patch:
        patch.setattr(DOLG, "embed_each", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build()
    del embedded_images[:]
    assert build().reused == 3 and len(embedded_images) == 1


def test_writers_at_the_same_time_never_leave_a_torn_file(tmp_path, caplog):
    path = tmp_path / "cache.npz"
    contents = [
        {(f"{place}.jpg", 1, 1): np.full(64, writer, np.float32) for place in range(300)}
        for writer in range(3)
    ]
    write_cache(path, contents[0])
    done = threading.Event()

    def write(content):
        while not done.is_set():
            write_cache(path, content)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    try:
        for _ in range(50):
            read = read_cache(path, 64)
            assert len(read) == 300
            assert len({float(value) for row in read.values() for value in row}) == 1
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert list(tmp_path.iterdir()) == [path] and not caplog.records


def test_another_version_of_the_package_makes_its_own(build, monkeypatch, embedded_images):
    build()
    monkeypatch.setattr(cache_module, "__version__", "999")
    assert build().reused == 0


def test_a_time_that_no_64_bits_hold_is_no_hindrance(build, photos, embedded_images, monkeypatch):
    stat, year_2300 = type(photos).stat, 10_413_792_000 * 10**9

    def in_2300(path, **options):  # not every file system takes such a time
        fields = list(stat(path, **options))
        return os.stat_result(fields, {"st_mtime_ns": year_2300})

    monkeypatch.setattr(type(photos), "stat", in_2300)
    assert len(build()) == 4
    assert build().reused == 4 and len(embedded_images) == 4


def test_whatever_goes_wrong_with_writing_costs_one_warning(tmp_path, caplog):
    write_cache(tmp_path / "cache.npz", {("a.jpg", 1, 2**70): np.zeros(4, np.float32)})
    assert len(caplog.records) == 1 and list(tmp_path.iterdir()) == []


def test_a_long_job_keeps_what_it_has_from_time_to_time(build, cache_dir, monkeypatch):
    monkeypatch.setattr(index_module, "KEEP_EVERY_S", 0)
    embed_each, kept = DOLG.embed_each, []

    def watched(self, images, **options):
        for result in embed_each(self, images, **options):
            kept.append(len(read_cache(the_file(cache_dir), 512)) if cache_dir.exists() else 0)
            yield result

    monkeypatch.setattr(DOLG, "embed_each", watched)
    build()
    assert kept == [0, 1, 2, 3]


def test_a_long_job_that_cannot_keep_anything_warns_once(build, cache_dir, caplog, monkeypatch):
    monkeypatch.setattr(index_module, "KEEP_EVERY_S", 0)
    cache_dir.write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        build()
    assert len(caplog.records) == 1


def test_without_a_home_nothing_is_kept_and_that_is_said(build, monkeypatch, tmp_path, caplog):
    for name in ("DOLG_ZOO_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # as it does then
    monkeypatch.chdir(tmp_path)
    assert len(build()) == 4
    assert len(caplog.records) == 1 and "DOLG_ZOO_CACHE" in caplog.records[0].getMessage()
    assert not (tmp_path / "~").exists()
