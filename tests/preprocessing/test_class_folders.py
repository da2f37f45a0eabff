"""What is a class: one answer for evaluations, training, maps and the marks of a montage."""

import pytest
from plain_embedder import PlainEmbedder

from dolg_zoo.evaluation import ClassFolder
from dolg_zoo.evaluation.comparison import compare
from dolg_zoo.preprocessing.files import class_of, folder_labels
from dolg_zoo.training.data import DataError, from_folder

CLASSES = ("cat", "dog")


def laid_out(folder, *parts):
    """Empty images in a tree of folders, two in each."""
    for part in parts:
        for name in ("1.jpg", "2.jpg"):
            (folder / part).mkdir(parents=True, exist_ok=True)
            (folder / part / name).touch()
    return folder


def entry_points(folder):
    model = PlainEmbedder()
    return {
        "evaluate": lambda: ClassFolder.find(folder),
        "train": lambda: from_folder(folder),
        "check": lambda: compare(model, model, folder),
    }


SPLITS = [
    ("train", "val"),
    ("Training", "Testing"),
    ("TRAIN", "valid", "test"),
    ("train", "validation"),
    ("dev", "test"),
    ("fold0", "fold1", "fold_2"),
    ("train2017", "val2017"),
    ("train_set", "test-set"),
    ("query", "gallery"),
    ("train",),
]


@pytest.mark.parametrize("entry", ["evaluate", "train", "check"])
@pytest.mark.parametrize("splits", SPLITS, ids="-".join)
def test_the_parts_of_a_data_set_are_no_classes(tmp_path, splits, entry):
    folder = laid_out(tmp_path / "da ta", *(f"{s}/{c}" for s in splits for c in CLASSES))
    with pytest.raises((ValueError, DataError)) as caught:
        entry_points(folder)[entry]()
    command = "dolg train --data" if entry == "train" else "dolg evaluate folder"
    assert any(f"{command} '{folder / split}'" in str(caught.value) for split in splits)
    for split in splits:
        examples = from_folder(folder / split)
        assert examples.class_names == CLASSES


def test_a_folder_beside_the_parts_makes_them_no_classes(tmp_path):
    folder = laid_out(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog", "figures")
    with pytest.raises(ValueError, match=r"parts of a data set \('test', 'train'\)"):
        ClassFolder.find(folder)


def test_it_is_what_is_meant_that_is_shown(tmp_path):
    folder = laid_out(tmp_path, "test/cat", "train/cat", "val/cat", "train/dog")
    for entry, part in (("evaluate", "test"), ("train", "train")):
        with pytest.raises((ValueError, DataError)) as caught:
            entry_points(folder)[entry]()
        assert f" {folder / part}" in str(caught.value)


@pytest.mark.parametrize("entry", ["evaluate", "train", "check"])
@pytest.mark.parametrize(
    "parts",
    [
        ("mammals/cat", "mammals/dog", "birds/owl", "birds/jay"),
        ("mammals/cat", "mammals/dog", "birds/owl"),
        ("all/cat", "all/dog"),
        ("train/cat", "train/dog", "other/cat"),
    ],
)
def test_groups_of_classes_have_two_readings(tmp_path, parts, entry):
    folder = laid_out(tmp_path / "data", *parts)
    with pytest.raises((ValueError, DataError), match="hold only folders") as caught:
        entry_points(folder)[entry]()
    assert any(repr(part) in str(caught.value) for part in parts)
    assert any(f" {folder / part.split('/')[0]}`" in str(caught.value) for part in parts)


@pytest.mark.parametrize(
    "parts",
    [
        CLASSES,
        ("cat/images", "dog/images"),  # Tiny ImageNet
        ("cat/jpg", "dog/png"),
        ("cat", "cat/old", "cat/new", "dog"),
        ("cat", "cat/old", "dog/old", "dog/new"),
        ("train/steam", "train", "car"),
        ("test", "cat"),
    ],
)
def test_a_folder_with_images_below_it_is_a_class(tmp_path, parts):
    folder = laid_out(tmp_path, *parts)
    expected = sorted({part.split("/")[0] for part in parts})
    assert from_folder(folder).class_names == tuple(expected)
    names = list(ClassFolder.find(folder).paths)
    assert {class_of(name) for name in names} == set(expected)
    assert sorted(set(folder_labels(names))) == expected


@pytest.mark.parametrize(
    ("splits", "expected"), [(("train", "val"), [*CLASSES] * 2), (("mammals", "birds"), None)]
)
def test_a_map_and_a_montage_have_labels_only_where_it_is_clear(splits, expected):
    names = [f"{split}/{name}/1.jpg" for split in splits for name in CLASSES]
    assert folder_labels(names) == expected


def test_parts_that_are_links_and_a_relative_path(tmp_path, monkeypatch):
    laid_out(tmp_path / "disk", *(f"{part}/{name}" for part in "ab" for name in CLASSES))
    (tmp_path / "data").mkdir()
    for part, name in (("a", "train"), ("b", "val")):
        (tmp_path / "data" / name).symlink_to(tmp_path / "disk" / part)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="dolg evaluate folder data/val"):
        ClassFolder.find("data/")
