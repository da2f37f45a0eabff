import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pytest
from bounds import DESCRIPTOR
from memory import peak_bytes
from PIL import Image
from plain_embedder import PlainEmbedder, environment

from dolg_zoo import DOLG
from dolg_zoo.embedders.base import ImageEmbedder
from dolg_zoo.errors import BadImagesError
from dolg_zoo.preprocessing import Crop, load_image
from dolg_zoo.retrieval import DescriptorStore, Index, StoreError, extract
from dolg_zoo.retrieval.extraction import extract as extraction
from dolg_zoo.retrieval.extraction.sources import Files
from dolg_zoo.retrieval.extraction.store import descriptor_store

NAMES = ["astronaut.png", "coffee.png", "far/chelsea.png", "rocket.png"]


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def by_id(folder):
    return dict(zip(*DescriptorStore.open(folder).read(), strict=True))


def agree(found, expected):
    assert found.keys() == expected.keys()
    for name, row in found.items():
        np.testing.assert_allclose(row, expected[name], atol=DESCRIPTOR)


@pytest.fixture
def expected(model, photos):
    return dict(zip(NAMES, model.embed(photos), strict=True))


def tar(path, folder, names):
    with tarfile.open(path, "w") as archive:
        for name in names:
            archive.add(folder / name, name)
    return path


def test_a_folder_becomes_a_store_and_a_second_run_embeds_what_is_new(
    model, photos, out, expected, embedded_images
):
    report = extract(model, photos, out)
    agree(by_id(out), expected)
    assert (report.embedded, report.known, report.skipped, report.faults) == (4, 0, {}, {})
    assert report.store.model_name == "small"
    Image.open(photos / "rocket.png").rotate(90).save(photos / "new.png")
    del embedded_images[:]
    report = extract(model, photos, out)
    assert embedded_images == ["new.png"]
    assert (report.embedded, report.known, len(report.store)) == (1, 4, 5)


@pytest.fixture
def two_folders(photos, tmp_path):
    """Folders a and b, with a photograph of the same name that differs."""
    for folder, name in (("a", "coffee.png"), ("b", "rocket.png")):
        (tmp_path / folder).mkdir()
        shutil.copy(photos / name, tmp_path / folder / "1.png")
        tar(tmp_path / folder / "s-000.tar", tmp_path / folder, ["1.png"])
    return tmp_path / "a", tmp_path / "b"


@pytest.mark.parametrize("of", ["", "*.png", "1.png", "s-000.tar", "s-{000..000}.tar"])
def test_the_same_names_in_another_folder_are_an_error_that_names_both(
    model, two_folders, out, embedded_images, of
):
    a, b = two_folders
    extract(model, f"{a}/{of}", out)
    before = by_id(out)
    del embedded_images[:]
    with pytest.raises(StoreError, match=rf"1\.png' from '{a}' already, and '{b}'.*another folder"):
        extract(model, f"{b}/{of}", out)
    assert not embedded_images
    agree(by_id(out), before)


def test_other_names_from_another_folder_are_added(model, two_folders, out):
    a, b = two_folders
    (b / "1.png").rename(b / "2.png")
    assert extract(model, a, out).embedded == extract(model, b, out).embedded == 1
    assert extract(model, b, out).known == 2
    shutil.copy(a / "1.png", b / "1.png")
    with pytest.raises(StoreError, match=r"'1\.png' from"):  # of a, though b is known as well
        extract(model, b, out)


def test_a_folder_is_the_same_however_it_is_written(model, two_folders, out, monkeypatch):
    a, _ = two_folders
    (a.parent / "link").symlink_to(a)
    monkeypatch.chdir(a.parent)
    assert extract(model, "a", out).embedded == 1
    for written in (a, f"{a}/", "./a/", "b/../a", "a/*.png", "link", "link/1.png"):
        assert extract(model, written, out).embedded == 0


def test_images_that_were_moved_are_known_once_that_is_said(model, two_folders, out):
    a, _ = two_folders
    extract(model, a, out)
    elsewhere = a.rename(a.parent / "elsewhere")
    with pytest.raises(StoreError, match=rf"from '{a}' already, and '{elsewhere}'.*moved=True"):
        extract(model, elsewhere, out)
    Image.open(elsewhere / "1.png").rotate(90).save(elsewhere / "2.png")
    assert extract(model, elsewhere, out, moved=True).embedded == 1
    assert extract(model, elsewhere, out).embedded == 0


def test_a_store_that_does_not_know_the_folder_of_its_images_goes_on(model, two_folders, out):
    a, b = two_folders
    extract(model, a, out)
    document = json.loads((out / "store.json").read_text())
    del document["parts"][0]["images"]
    (out / "store.json").write_text(json.dumps(document))
    assert extract(model, b, out).known == 1


def test_a_store_is_not_written_under_a_name_of_a_file(model, photos, tmp_path, embedded_images):
    with pytest.raises(ValueError, match=r"d\.npy' ends in \.npy like a file.*OUT\.npz"):
        extract(model, photos, tmp_path / "d.npy")
    assert not embedded_images and not (tmp_path / "d.npy").exists()


def test_shards_give_the_same_as_files(model, photos, tmp_path, out, expected):
    for number in range(2):
        tar(tmp_path / f"s-{number}.tar", photos, NAMES[2 * number : 2 * number + 2])
    extract(model, f"{tmp_path}/s-{{0..1}}.tar", out)
    named = {f"s-{place // 2}.tar/{name}": expected[name] for place, name in enumerate(NAMES)}
    agree(by_id(out), named)


def test_known_images_of_a_shard_are_not_decoded(model, photos, tmp_path, out, embedded_images):
    shard = tar(tmp_path / "s.tar", photos, NAMES[:2])
    extract(model, shard, out)
    tar(shard, photos, NAMES)
    del embedded_images[:]
    assert extract(model, shard, out).embedded == 2
    assert len(embedded_images) == 2


def test_a_damaged_shard_and_a_bad_image_cost_no_more_than_themselves(model, photos, tmp_path, out):
    (photos / "bad.jpg").write_text("no image")
    tar(tmp_path / "s-0.tar", photos, ["coffee.png", "bad.jpg", "rocket.png"])
    data = tar(tmp_path / "s-1.tar", photos, NAMES).read_bytes()
    size = (photos / NAMES[0]).stat().st_size
    (tmp_path / "s-1.tar").write_bytes(data[: size + 2000])
    tar(tmp_path / "s-2.tar", photos, ["coffee.png"])
    report = extract(model, f"{tmp_path}/s-*.tar", out)
    assert sorted(by_id(out)) == [
        "s-0.tar/coffee.png", "s-0.tar/rocket.png", "s-1.tar/astronaut.png", "s-2.tar/coffee.png"
    ]  # fmt: skip
    assert list(report.skipped) == ["s-0.tar/bad.jpg"]
    assert list(report.faults) == ["s-1.tar"]


def test_the_second_of_one_name_in_a_shard_is_skipped(model, photos, tmp_path, out):
    shard = tar(tmp_path / "s.tar", photos, ["coffee.png", "coffee.png", "rocket.png"])
    report = extract(model, shard, out)
    assert len(report.store) == 2
    assert report.skipped == {"s.tar/coffee.png": "another image of this name came before it"}


def test_a_name_that_is_no_text_is_skipped(model, photos, out):
    name = os.fsdecode(b"\xff.png")
    shutil.copy(photos / "rocket.png", photos / name)
    report = extract(model, photos, out)
    assert len(report.store) == 4 and "UTF-8" in report.skipped[name]


def test_several_scales_are_the_mean_of_unit_descriptors(model, photos, out):
    scales = (0.7071, 1.0, 1.4142)
    extract(model, photos, out, scales=scales)
    image = load_image(photos / "rocket.png")
    rows = []
    for scale in scales:
        pixels = model.image_converter(image, scale)
        row = np.asarray(model.net(pixels[None]))[0]
        rows.append(row / np.linalg.norm(row))
    mean = np.mean(rows, axis=0)
    np.testing.assert_allclose(
        by_id(out)["rocket.png"], mean / np.linalg.norm(mean), atol=DESCRIPTOR
    )


def test_float16_keeps_the_nearest(model, photos, out, expected):
    extract(model, photos, out, dtype="float16")
    for name, row in by_id(out).items():
        # margin: the half of the last of eleven binary digits, of numbers below 1/2
        np.testing.assert_allclose(row, expected[name], atol=2**-13)
        np.testing.assert_array_equal(row, row.astype(np.float16))


def test_other_scales_and_another_model_are_refused_before_the_work(
    model, photos, out, embedded_images, monkeypatch
):
    first = extract(model, photos, out).store
    del embedded_images[:]
    with pytest.raises(StoreError, match=r"scales 1 there, 0\.5, 1 here"):
        extract(model, photos, out, scales=(0.5, 1))
    monkeypatch.setattr(DOLG, "model_id", "another")
    with pytest.raises(StoreError, match=f"model_id {first.model_id} .* there, another .* here"):
        extract(model, photos, out)
    assert embedded_images == []


def test_what_is_not_finite_is_skipped(model, photos, out, monkeypatch):
    embed_each = DOLG.embed_each

    def spoilt(self, images, **options):
        for index, row in embed_each(self, images, **options):
            yield index, row * np.nan if index == 1 else row

    monkeypatch.setattr(DOLG, "embed_each", spoilt)
    report = extract(model, photos, out)
    assert "coffee.png" not in by_id(out)
    assert report.skipped == {"coffee.png": "the model gives it a descriptor that is not finite"}


def test_where_no_image_can_be_read_it_says_why(model, tmp_path, out):
    (tmp_path / "bad.jpg").write_text("no image")
    with pytest.raises(ValueError, match=r"None of the images.*'bad\.jpg'.*formats"):
        extract(model, tmp_path / "bad.jpg", out)
    tar(tmp_path / "s.tar", tmp_path, [])
    with pytest.raises(ValueError, match="no image in the source"):
        extract(model, tmp_path / "s.tar", out)


def test_a_damaged_part_is_made_anew_when_asked(
    model, photos, out, expected, monkeypatch, embedded_images
):
    monkeypatch.setattr(extraction, "PART_ROWS", 3)
    extract(model, photos, out, batch_size=1)
    (out / "part-000000.parquet").write_bytes(b"rubbish")
    with pytest.raises(StoreError, match="--repair"):
        extract(model, photos, out)
    del embedded_images[:]
    report = extract(model, photos, out, repair=True)
    assert report.forgotten == {"part-000000.parquet": 3} and len(embedded_images) == 3
    agree(by_id(out), expected)


def test_ctrl_c_loses_nothing_that_is_done(model, photos, out, monkeypatch):
    embed_each = DOLG.embed_each

    def interrupted(self, images, **options):
        for index, row in embed_each(self, images, batch_size=1):
            yield index, row
            if index == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(DOLG, "embed_each", interrupted)
    with pytest.raises(KeyboardInterrupt):
        extract(model, photos, out)
    assert list(by_id(out)) == NAMES[:3]


def test_parts_are_written_as_time_passes(model, photos, out, monkeypatch):
    monkeypatch.setattr(extraction, "PART_S", 0.0)
    report = extract(model, photos, out)
    assert [len(ids) for ids, _ in report.store.parts()] == [1] * 4


def test_a_full_disk_says_what_is_safe_and_a_rerun_goes_on(
    model, photos, out, expected, monkeypatch, embedded_images
):
    replacing, written = descriptor_store.replacing, []

    def filling(path):
        written.append(path)
        if len(written) > 2:
            raise OSError(28, "No space left on device", str(path))
        return replacing(path)

    monkeypatch.setattr(extraction, "PART_ROWS", 1)
    monkeypatch.setattr(descriptor_store, "replacing", filling)
    with pytest.raises(OSError, match=r"No space left.*The 2 before them are safe.*out'") as error:
        extract(model, photos, out)
    assert error.value.errno == 28
    monkeypatch.setattr(descriptor_store, "replacing", replacing)
    del embedded_images[:]
    assert extract(model, photos, out).known == 2
    assert len(embedded_images) == 2
    agree(by_id(out), expected)


KILLED = """
import os, signal, sys
from plain_embedder import PlainEmbedder  # TensorFlow would take longer than all the rest

from dolg_zoo.retrieval import extract
from dolg_zoo.retrieval.extraction import extract as extraction
from dolg_zoo.retrieval.extraction.store import descriptor_store

extraction.PART_ROWS = 5
write_manifest = descriptor_store.write_manifest

def write_and_die(folder, settings, parts):
    write_manifest(folder, settings, parts)
    if len(parts) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

descriptor_store.write_manifest = write_and_die
extract(PlainEmbedder(), sys.argv[1], sys.argv[2], batch_size=4)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_killed_it_goes_on_without_losing_or_repeating(photos, tmp_path, out):
    for number in range(20):
        angle = Image.open(photos / NAMES[number % 4]).rotate(number)
        angle.save(photos / f"turned-{number}.png")
    names = [path.relative_to(photos).as_posix() for path in sorted(photos.rglob("*.png"))]
    shards = [tar(tmp_path / f"s-{n}.tar", photos, names[n::2]) for n in range(2)]
    assert len(shards) == 2 and len(names) == 24
    pattern = f"{tmp_path}/s-*.tar"
    done = subprocess.run([sys.executable, "-c", KILLED, pattern, str(out)], env=environment())
    assert done.returncode == -signal.SIGKILL
    assert len(DescriptorStore.open(out)) == 10
    model = PlainEmbedder()
    report = extract(model, pattern, out)
    assert (report.known, report.embedded) == (10, 14) == (10, len(model.seen))
    extract(model, pattern, tmp_path / "unbroken")
    ids = DescriptorStore.open(out).ids()
    assert len(ids) == len(set(ids)) == 24
    agree(by_id(out), by_id(tmp_path / "unbroken"))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_images(model, photos, out):
    file = io.BytesIO()
    Image.open(photos / "rocket.png").save(file, "BMP")  # 77 KB

    class Source(Files):
        def __init__(self, count):
            super().__init__(photos, (), ())
            self.count = count

        def missing(self, known):
            return None

        def items(self, known):
            for number in range(self.count):
                yield f"{number}.bmp", "", file.getvalue() + bytes([number])

    def growth(run):
        few, many = (
            peak_bytes(
                lambda count=count: extract(
                    model, Source(count), out / f"{run}_{count}", batch_size=4
                )
            )
            for count in (32, 160)
        )
        return many - few

    # 128 images are 10 MB
    assert any(growth(run) < 3e6 for run in range(3))


def test_the_command_takes_a_pattern_and_goes_on(model, photos, out, monkeypatch, capsys):
    from dolg_zoo.cli import main

    monkeypatch.setattr(DOLG, "from_preset", lambda *_: model)
    monkeypatch.chdir(photos)
    (photos / "bad.png").write_text("no image")
    answers = []
    for status in (0, 3):
        strict = ["--strict"] if status else []
        arguments = ["dolg", "embed", "**/*.png", "-o", str(out), "--json", "--dtype", "float16"]
        monkeypatch.setattr(sys, "argv", [*arguments, "--batch-size", "2", *strict])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == status
        answers.append(json.loads(capsys.readouterr().out))
    first, second = answers
    assert (first["images"], first["added"], first["kept"]) == (4, 4, 0)
    assert (second["images"], second["added"], second["kept"]) == (4, 0, 4)
    assert second["dtype"] == "float16" and second["skipped"][0]["name"] == "bad.png"
    assert sorted(by_id(out)) == NAMES


def test_paths_may_begin_at_the_home_folder(photos, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir("/")
    model, names = PlainEmbedder(), ["astronaut.png", "coffee.png", "far/chelsea.png", "rocket.png"]
    expected = model.embed(photos)
    np.testing.assert_array_equal(model.embed("~/photos"), expected)
    np.testing.assert_array_equal(model.embed("~/photos/coffee.png"), expected[1:2])
    np.testing.assert_array_equal(model.embed([Path("~/photos/coffee.png")]), expected[1:2])
    index = Index.build(model, "~/photos")
    assert index.names == names
    for kind in ("~/photos.index", "~/photos.npz"):
        index.save(kind)
        assert Path(kind.replace("~", str(tmp_path))).exists()
        loaded = Index.load(kind, model, "~/photos")
        assert loaded.search(Crop("~/photos/coffee.png", (0, 0, 160, 160)))[0].path.is_file()
    for source in ("~/photos", "~/photos/**/*.png"):
        assert extract(model, source, "~/store").store.folder == tmp_path / "store"
    assert Index.from_store("~/store", model, "~/photos").search("~/photos/rocket.png", k=1)
    assert list(tmp_path.glob("**/~*")) == []


def opened(path):
    """The image of a file in every way that is neither a path nor an array."""
    data = path.read_bytes()
    written = io.BytesIO()
    written.write(data)
    temporary = tempfile.NamedTemporaryFile()  # noqa: SIM115
    temporary.write(data)
    files = [written, temporary, path.open("rb"), path.open("rb", buffering=0)]
    return [data, bytearray(data), memoryview(data), io.BytesIO(data), *files]


def test_bytes_and_open_files_are_images_wherever_one_is_taken(photos):
    model, path = PlainEmbedder(), photos / "coffee.png"
    (expected,) = model.embed(path)
    index = Index.build(model, photos)
    for image in opened(path):
        np.testing.assert_array_equal(model.embed(image), expected[None])
        np.testing.assert_array_equal(model.embed([image, image]), [expected] * 2)
        assert next(row for _, row in model.embed_each([image])).tolist() == expected.tolist()
        assert next(ImageEmbedder.embed_each(model, image))[1].tolist() == expected.tolist()
        assert model.similarity(image, [path]).shape == (1, 1)
        crop = Crop(image, (0, 0, 160, 160))
        np.testing.assert_array_equal(model.embed(crop), expected[None])
        for query in (image, crop):
            found = index.search(query, k=1)
            assert found[0].name == "coffee.png" and "<img" in found._repr_html_()
            assert index.within(query, 0.999)[0].name == "coffee.png"
            ((match,),) = index.search_each([query], k=1)
            assert match.name == "coffee.png"


@pytest.mark.parametrize(
    "image",
    [
        *(None, 5, 10**5000, "no such file.jpg", "x" * 10**6, "a/" * 10**6, b"x" * 10**6),
        *([10**5000], ["x" * 10**6], [b"x" * 10**6], [["x" * 10**6]], {"x" * 10**6: 1}),
        io.StringIO("x" * 999),
    ],
    ids=lambda image: f"{type(image).__name__}",
)
def test_what_is_no_image_is_one_short_line(image, photos):
    model = PlainEmbedder()
    index = Index.build(model, photos)
    calls = [lambda: model.embed(image), lambda: model.embed([image])]
    calls += [lambda: list(model.embed_each([image])), lambda: index.search(image)]
    for call in calls:
        try:
            found = call()
        except (TypeError, ValueError, OSError) as error:
            found = error
        text = str(found[0][1] if isinstance(found, list) else found)
        assert 10 < len(text) < 600 and text.count("\n") <= 2 and "x" * 81 not in text


def test_a_closed_file_costs_no_other_image(photos):
    model, closed = PlainEmbedder(), (photos / "coffee.png").open("rb")
    closed.close()
    with pytest.raises(BadImagesError, match="closed file") as caught:
        model.embed([closed, photos / "coffee.png"])
    assert caught.value.kept == [1]
    bad, good = Index.build(model, photos).search_each([closed, photos / "coffee.png"])
    assert "closed file" in str(bad) and good[0].name == "coffee.png"


def test_a_file_that_is_opened_as_text_says_so(photos):
    with (photos / "coffee.png").open("r", encoding="latin-1") as file:
        for call in (PlainEmbedder().embed, load_image):
            with pytest.raises(TypeError, match="opened in binary mode, open"):
                call(file)
