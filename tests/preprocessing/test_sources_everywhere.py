"""Whatever one entry point takes as images, all take."""

import io
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from plain_embedder import PlainEmbedder

from dolg_zoo.embedders.base import ImageEmbedder
from dolg_zoo.errors import BadImagesError
from dolg_zoo.evaluation import ClassFolder
from dolg_zoo.preprocessing import Crop, ImageConverter, list_images
from dolg_zoo.retrieval import Index
from dolg_zoo.retrieval.extraction.sources import open_source
from dolg_zoo.runtimes.quantization import calibration_images


class Embedder(PlainEmbedder):
    embed_each = ImageEmbedder.embed_each  # without a count


MODEL = Embedder()
FILES = ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"]


@pytest.fixture
def folder(tmp_path, rng, monkeypatch):
    folder = tmp_path / "photos[1]"  # also a pattern
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / name)
    (folder / "list.csv").write_text("image\n" + "\n".join(FILES) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return folder


def pixels(folder):
    return [np.asarray(Image.open(folder / name)) for name in FILES]


BY_PATH = {
    "folder": lambda f: f,
    "relative folder": lambda f: f.name + "/",
    "pattern": lambda f: "photos[[]1]/*/*.png",
    "deep pattern": lambda f: Path("photos*/**/?.png"),
    "list": lambda f: f / "list.csv",
}
IN_MEMORY = {
    "paths": lambda f: [f / name for name in FILES],
    "texts": lambda f: (str(f / name) for name in FILES),
    "bytes": lambda f: [(f / name).read_bytes() for name in FILES],
    "files": lambda f: [io.BytesIO((f / name).read_bytes()) for name in FILES],
    "PIL": lambda f: map(Image.open, [f / name for name in FILES]),
    "array": lambda f: np.stack(pixels(f)),
    "arrays": lambda f: iter(pixels(f)),
    "crops": lambda f: [Crop(f / name, (0, 0, 32, 32)) for name in FILES],
}


@pytest.mark.parametrize(
    ("entry", "kind"),
    [
        *product(["embed"], [*BY_PATH, *IN_MEMORY]),
        *product(
            ["embed_each", "similarity", "calibration", "search_each"],
            ["folder", "list", "texts", "bytes", "array"],
        ),
    ],
)
def test_images_of_any_kind_at_any_entry_point(folder, kind, entry):
    images = (BY_PATH | IN_MEMORY)[kind](folder)
    expected = MODEL.infer(np.stack(pixels(folder)))
    if entry == "embed":
        found = MODEL.embed(images)
    elif entry == "embed_each":
        found = np.stack([row for _, row in sorted(MODEL.embed_each(images), key=lambda r: r[0])])
    elif entry == "similarity":
        found, expected = MODEL.similarity(images), np.clip(expected @ expected.T, -1, 1)
    elif entry == "calibration":
        found = np.stack(calibration_images(ImageConverter(size=32), images))
        expected = np.stack(pixels(folder))
    else:
        index = Index(MODEL, FILES, expected)
        found = [matches[0].name for matches in index.search_each(images, 1)]
        expected = FILES
    np.testing.assert_allclose(found, expected, atol=1e-5) if entry != "search_each" else None
    assert len(found) == len(FILES) and (entry != "search_each" or found == expected)


@pytest.mark.parametrize("kind", BY_PATH)
def test_what_names_images_names_them_wherever_a_folder_is_asked_for(folder, kind):
    where = BY_PATH[kind](folder)
    assert [path.name for path in list_images(where)] == ["1.png", "2.png"] * 2
    index = Index.build(MODEL, where, progress=False)
    assert all((index.folder / name).is_file() for name in index.names) and len(index) == 4
    assert len(open_source(where)) == 4
    if "pattern" not in kind:
        task = ClassFolder.find(where)
        assert list(task.paths) == FILES and task.left_out == 0


@pytest.mark.parametrize("kind", ["paths", "texts"])
def test_paths_of_images_are_a_source_too(folder, kind):
    index = Index.build(MODEL, IN_MEMORY[kind](folder), progress=False)
    assert index.names == FILES and index.folder == folder
    assert list(open_source(IN_MEMORY[kind](folder)).names) == FILES
    with pytest.raises(TypeError, match=r"Index\(model, names, model.embed\(images\)\)"):
        Index.build(MODEL, pixels(folder))


def test_folders_and_wildcards_may_be_among_others(folder):
    several = [folder / "cat", "photos*/dog/*.png"]
    expected = MODEL.infer(np.stack(pixels(folder)))
    np.testing.assert_allclose(MODEL.embed(several), expected, atol=1e-5)
    np.testing.assert_allclose(MODEL.embed(np.array(list(map(str, several)))), expected, atol=1e-5)
    assert Index.build(MODEL, several, progress=False).names == FILES
    twice = [folder / FILES[0], f"{folder}/cat/../{FILES[1]}"]
    assert Index.build(MODEL, twice, progress=False).names == ["1.png", "2.png"]
    with pytest.raises(BadImagesError) as caught:  # which costs itself alone
        MODEL.embed([folder / FILES[0], "no*such.png"])
    assert caught.value.kept == [0]


def test_an_empty_path_is_not_the_current_folder(folder, monkeypatch):
    monkeypatch.chdir(folder / "cat")
    for take in (list_images, open_source, lambda where: Index.build(MODEL, where)):
        with pytest.raises(ValueError, match="a path is empty"):
            take("")


def test_an_index_takes_the_name_of_one_image_to_add(folder):
    index = Index.build(MODEL, folder / "cat", progress=False)
    index.folder = folder
    index.add("dog/1.png")
    assert index.names[-1] == "dog/1.png"


def test_a_tar_file_is_one_line_that_says_what_to_do(folder):
    (folder / "a.tar").touch()
    with pytest.raises(ValueError, match=r"dolg embed .*a.tar.* -o STORE"):
        Index.build(MODEL, folder / "a.tar")


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("labelled", [False, True])
def test_a_data_set_of_tensorflow(folder, batched, labelled):
    tf = pytest.importorskip("tensorflow")
    images = np.stack(pixels(folder))
    data = tf.data.Dataset.from_tensor_slices((images, range(4)) if labelled else images)
    found = MODEL.embed(data.batch(3) if batched else data)
    np.testing.assert_allclose(found, MODEL.infer(images), atol=1e-5)
