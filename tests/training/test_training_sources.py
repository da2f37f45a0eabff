"""Folders as classes, and the table [data] of a plan."""

import logging

import pytest

from dolg_zoo.training.data import DataError, from_folder, load_examples


@pytest.fixture
def places(tmp_path):
    """Two classes, one with a nested folder, and things that are no examples."""
    for name in ("b/2.jpg", "b/deep/er/1.png", "a/9.JPG", "a/.hidden.jpg", ".git/x.jpg", "a/t.txt"):
        path = tmp_path / "places" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "places"


def test_names_of_folders_that_look_the_same_are_one_class(tmp_path):
    for name in ("Zu\u0308rich/a.jpg", "Z\u00fcrich /b.jpg", "Bern/c.jpg"):
        path = tmp_path / name
        path.parent.mkdir()
        path.touch()
    assert from_folder(tmp_path).class_names == ("Bern", "Z\u00fcrich")


def test_a_subfolder_is_a_class(places):
    examples = from_folder(places)
    assert examples.class_names == ("a", "b")
    found = {
        (path.relative_to(places).as_posix(), examples.class_names[label])
        for path, label in zip(examples.sources, examples.labels, strict=True)
    }
    assert found == {("a/9.JPG", "a"), ("b/2.jpg", "b"), ("b/deep/er/1.png", "b")}


@pytest.mark.parametrize("aside", ["@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX"])
def test_a_folder_of_the_system_is_no_class_and_in_no_class(places, aside):
    for name in (f"{aside}/1.jpg", f"a/{aside}/1.jpg"):
        (places / name).parent.mkdir()
        (places / name).touch()
    examples = from_folder(places)
    assert examples.class_names == ("a", "b") and len(examples) == 3


def test_the_order_is_that_of_the_paths(places):
    sources = list(from_folder(places).sources)
    assert sources == sorted(sources)


def test_images_beside_the_subfolders_are_left_out_with_a_warning(places, caplog):
    (places / "logo.png").touch()
    with caplog.at_level(logging.WARNING):
        assert len(from_folder(places)) == 3
    assert "left out: 1 images" in caplog.text


def test_a_folder_without_subfolders_is_refused(places):
    with pytest.raises(DataError, match="in no subfolder; training needs a subfolder"):
        from_folder(places / "b" / "deep" / "er")


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DataError, match="no image in"):
        from_folder(tmp_path)


def test_a_missing_folder_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        from_folder(tmp_path / "nowhere")


def test_a_table_with_a_folder(places):
    assert len(load_examples({"folder": str(places)})) == 3


def test_paths_are_relative_to_the_plan(places):
    assert len(load_examples({"folder": "places"}, relative_to=places.parent)) == 3


def test_a_table_with_a_csv_file(places):
    (places / "my.csv").write_text("what,file\nx,a/9.JPG\ny,b/2.jpg\n")
    table = {"csv": "places/my.csv", "images": "places", "columns": ["file", "what"]}
    examples = load_examples(table, relative_to=places.parent)
    assert list(examples.sources) == [places / "a/9.JPG", places / "b/2.jpg"]
    assert examples.class_names == ("x", "y")


def test_a_table_with_a_csv_file_of_links(places, tmp_path):
    (places / "link.jpg").symlink_to(tmp_path / "x.jpg")
    (tmp_path / "x.jpg").touch()
    (places / "my.csv").write_text("image,label\na/9.JPG,x\nlink.jpg,y\n")
    table = {"csv": str(places / "my.csv")}
    with pytest.raises(DataError, match="anywhere = true"):
        load_examples(table)
    assert len(load_examples({**table, "anywhere": True})) == 2


def test_a_table_with_gldv2(tmp_path):
    image = tmp_path / "train/0/1/2/0123456789abcdef.jpg"
    image.parent.mkdir(parents=True)
    image.touch()
    (tmp_path / "clean.csv").write_text(
        "landmark_id,images\n3,0123456789abcdef\n4,0123456789abcdee\n"
    )
    examples = load_examples({"gldv2": "clean.csv", "images": "train"}, relative_to=tmp_path)
    assert examples.sources[0] == image


@pytest.mark.parametrize("table", [{}, {"folder": "a", "tfds": "mnist"}, {"split": "train"}])
def test_one_source_is_needed(table):
    with pytest.raises(DataError, match="one source, folder, csv, gldv2, tfds"):
        load_examples(table)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"folder": "a", "split": "train"}, "unknown key 'split'; the keys beside folder are none"),
        ({"tfds": "mnist", "images": "a"}, "'images'; the keys beside tfds are split, data_dir"),
        ({"folder": 3}, "folder must be a text, and not empty, got 3"),
        ({"folder": ""}, "folder must be a text"),
        ({"csv": "a\0b"}, "csv must be a text"),
        ({"csv": "a", "columns": ["one"]}, r"two names, .*not \['one'\]"),
        ({"csv": "a", "anywhere": "yes"}, "anywhere must be true or false, not 'yes'"),
        ({"csv": "a", "columns": "ab"}, "two names, .*not 'ab'"),
        ({"gldv2": "a"}, "gldv2 also needs images"),
    ],
)
def test_a_wrong_table_is_refused_in_words(table, message):
    with pytest.raises(DataError, match=message):
        load_examples(table)


def test_one_class_is_nothing_to_train_on(places):
    (places / "a/9.JPG").unlink()
    with pytest.raises(DataError, match="All 2 images are of one class"):
        load_examples({"folder": str(places)})


def test_paths_of_a_plan_may_begin_at_the_home_folder(places, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "list.csv").write_text("image,label\nb/2.jpg,b\na/9.JPG,a\n")
    for data in ({"folder": "~/places"}, {"csv": "~/list.csv", "images": "~/places"}):
        assert load_examples(data, "/elsewhere").class_names == ("a", "b")
    assert load_examples({"folder": "places"}, "~").class_names == ("a", "b")
