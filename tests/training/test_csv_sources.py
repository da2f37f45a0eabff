"""CSV files, among them those of Google Landmarks v2; none is trusted."""

import csv
import os
import sys
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolg_zoo._util import csv_lists as tables
from dolg_zoo.training.data import DataError, from_csv, from_gldv2


@pytest.fixture
def write(tmp_path):
    """Writes a CSV file beside an image a.jpg, and gives its path."""
    (tmp_path / "a.jpg").touch()

    def write(content):
        path = tmp_path / "list.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_paths_and_labels_of_a_csv(write, tmp_path):
    examples = from_csv(write("image,label\na.jpg,dog\nsub/b.jpg,cat\nc.jpg,dog\n"))
    assert list(examples.sources) == [tmp_path / name for name in ("a.jpg", "sub/b.jpg", "c.jpg")]
    assert examples.class_names == ("cat", "dog")
    assert examples.labels.tolist() == [1, 0, 1]


def test_paths_are_relative_to_the_folder_of_images(write, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "x.jpg").touch()
    examples = from_csv(write("image,label\nx.jpg,1\n"), folder)
    assert examples.sources[0] == folder / "x.jpg"


def test_columns_go_by_the_names_given(write):
    content = "id,what,file\n1,dog,a.jpg\n"
    examples = from_csv(write(content), columns=("file", "what"))
    assert examples.sources[0].name == "a.jpg"
    assert examples.class_names == ("dog",)


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffimage,label\r\na.jpg,dog\r\n\r\n",
        'image, label\n"a.jpg", "dog"\n',
        "image,label,note\na.jpg,dog,\xff\n".encode("latin-1"),
    ],
    ids=["byte-order mark and CRLF", "space after the comma", "another column is not UTF-8"],
)
def test_common_ways_to_write_a_csv_are_read(write, content):
    examples = from_csv(write(content))
    assert [path.name for path in examples.sources] == ["a.jpg"]
    assert examples.class_names == ("dog",)


@given(
    st.lists(
        st.text(
            st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=9
        ).filter(lambda label: label == " ".join(label.split()).strip("\ufeff\u200b\u2060 ") != ""),
        min_size=1,
    )
)
def test_any_label_text_comes_back(tmp_path_factory, labels):
    folder = tmp_path_factory.mktemp("labels")
    (folder / "0.jpg").touch()
    with (folder / "list.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label"])
        writer.writerows([f"{number}.jpg", label] for number, label in enumerate(labels))
    examples = from_csv(folder / "list.csv")
    composed = [unicodedata.normalize("NFC", label) for label in labels]
    assert [examples.class_names[label] for label in examples.labels] == composed


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ("cat|cat | cat|\tcat\t", "cat"),
        ("cat|cat\u00a0|\u3000cat|\ufeffcat|cat\u200b", "cat"),
        ("New York|New\u00a0York|New  York", "New York"),
        ("Z\u00fcrich|Zu\u0308rich", "Z\u00fcrich"),
    ],
)
def test_labels_that_look_the_same_are_one_class(write, labels, expected):
    lines = [f'{number}.jpg,"{label}"' for number, label in enumerate(labels.split("|"))]
    path = write("\n".join(["image,label", *lines, "a.jpg,dog"]))
    assert set(from_csv(path).class_names) == {expected, "dog"}


def test_labels_that_differ_in_case_or_digits_are_not_one_class(write):
    assert (
        len(from_csv(write("image,label\na.jpg,Cat\nb.jpg,cat\nc.jpg,1\nd.jpg,01\n")).counts) == 4
    )


def test_blanks_around_a_column_or_a_path_do_not_matter_unless_the_file_has_them(write, tmp_path):
    (tmp_path / "b.jpg ").touch()
    examples = from_csv(write('image ,label\u00a0\n"a.jpg ",1\n"b.jpg ",2\n'))
    assert [path.name for path in examples.sources] == ["a.jpg", "b.jpg "]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "column 'image' once; it has nothing"),
        ("image;label\na.jpg;1\n", "column 'image' once; it has 'image;label'"),
        ("image,label,label\na.jpg,1,2\n", "column 'label' once"),
        ("image,label\na.jpg,1\n".encode("utf-16"), "save the file as UTF-8"),
        ("image,label\n", "lists no images below its header"),
        ("image,label\na.jpg,1\nb.jpg,\n", r"line 3: label is empty: ''; correct or remove"),
        ("image,label\na.jpg,1\nb.jpg, \n", "line 3: label is empty"),
        ("image,label\na.jpg,1\nb.jpg,\u200b\n", "line 3: label is empty"),
        ("image,label\n,1\n", "line 2: image is empty"),
        ("image,label\na.jpg,1\nb\0.jpg,1\n", r"line 3.* NUL"),
        ("image,label\na.jpg,caf\xe9\n".encode("latin-1"), r"line 2: label is not UTF-8 text"),
        ("image,label\na.jpg\n", "line 2 has 1 values, but the header has 2"),
        ("image,label\na.jpg,Paris, France\n", "line 2 has 3 values, but the header has 2"),
        ("image,label\na.jpg,1\nb.jpg,2\na.jpg,1\n", "line 4: 'a.jpg' is in line 2 already"),
        ("image,label\na.jpg,1\n./a.jpg,2\n", "line 3: 'a.jpg' is in line 2 already"),
        ('image,label\na.jpg,"one\nb.jpg,two\n', "line 3: .*double quote"),
        ('image,label\na.jpg,"one" two\n', "line 2: .*double quote"),
        ("image,label\na.jpg," + "x" * 200_000, "line 2: field larger"),
        ("image,label\nnot_here.jpg,1\n", "None of 1 images of the list is in .*not_here.jpg"),
    ],
)
def test_a_fault_is_named_with_its_line(write, content, message):
    with pytest.raises(DataError, match=message):
        from_csv(write(content))


@pytest.mark.parametrize(
    "path", ["../a.jpg", "/etc/passwd", "sub/../../a.jpg", "..", "link/a.jpg", "link.jpg"]
)
def test_a_path_that_leads_out_of_the_folder_is_refused(write, tmp_path, path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path)
    (inside / "link.jpg").symlink_to(tmp_path / "a.jpg")
    with pytest.raises(DataError, match=r"line 2: .* leads out of the folder"):
        from_csv(write(f"image,label\n{path},1\n"), inside)


@pytest.mark.parametrize("path", ["../a.jpg", "{root}/a.jpg", "link/a.jpg", "link.jpg"])
def test_a_list_that_is_trusted_may_lead_out_of_the_folder(write, tmp_path, path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link").symlink_to(tmp_path)
    (inside / "link.jpg").symlink_to(tmp_path / "a.jpg")
    path = path.format(root=tmp_path)
    file = write(f"image,label\n{path},1\n")
    with pytest.raises(DataError, match=r"leads out of the folder .* anywhere = true"):
        from_csv(file, inside)
    (source,) = from_csv(file, inside, anywhere=True).sources
    assert source.resolve() == (tmp_path / "a.jpg").resolve()


def test_a_list_made_on_windows_is_read(write, tmp_path):
    (tmp_path / "far" / "off").mkdir(parents=True)
    for name in ("far/1.jpg", "far/off/2.jpg", "odd\\name.jpg"):
        (tmp_path / name).touch()
    content = "image,label\r\nfar\\1.jpg,x\r\n.\\far\\off\\2.jpg,y\r\nodd\\name.jpg,z\r\n"
    assert list(from_csv(write(content)).sources) == [
        tmp_path / name for name in ("far/1.jpg", "far/off/2.jpg", "odd\\name.jpg")
    ]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (r"C:\photos\1.jpg", r"line 2: 'C:.*is a path on a Windows machine"),
        ("C:/photos/1.jpg", r"line 2: 'C:.*is a path on a Windows machine"),
        (r"\\server\share\1.jpg", r"line 2: .*is a path on a Windows machine"),
        (r"..\a.jpg", r"line 2: .*leads out of the folder"),
    ],
)
def test_a_path_of_another_machine_or_out_of_the_folder_is_said_to_be(write, path, message):
    with pytest.raises(DataError, match=message):
        from_csv(write(f"image,label\n{path},1\n"))


def test_a_link_within_the_folder_is_followed(write, tmp_path):
    (tmp_path / "b.jpg").symlink_to("a.jpg")
    assert len(from_csv(write("image,label\nb.jpg,1\n"))) == 1


def test_the_folder_itself_may_be_a_link(write, tmp_path):
    (tmp_path / "elsewhere").symlink_to(tmp_path)
    assert len(from_csv(write("image,label\na.jpg,1\n"), tmp_path / "elsewhere")) == 1


def test_a_line_without_end_does_not_fill_the_memory(write, monkeypatch):
    monkeypatch.setattr(tables, "MAX_LINE", 1000)
    with pytest.raises(DataError, match="line 2 has more than 1000 characters, beginning with 'aa"):
        from_csv(write("image,label\n" + "a" * 1001))


def test_a_missing_csv_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.csv"):
        from_csv(tmp_path / "nowhere.csv")


IDS = ["0123456789abcdef", "fedcba9876543210", "00000000000000aa", "ffffffffffffffff"]
CLEAN = f"landmark_id,images\n20,{IDS[0]} {IDS[1]}\n3,{IDS[2]}\n20,{IDS[3]}\n"
FULL = (
    f"id,url,landmark_id\n{IDS[0]},https://host/a.jpg,20\n"
    f'{IDS[1]},"https://host/File,_b.jpg",20\n{IDS[2]},,3\n{IDS[3]},https://host/\xfc,20\n'
)


@pytest.fixture
def tree(tmp_path):
    """The folder of images, with the last of them."""
    path = tmp_path / "train/f/f/f" / f"{IDS[3]}.jpg"
    path.parent.mkdir(parents=True)
    path.touch()
    return tmp_path / "train"


@pytest.mark.parametrize("content", [CLEAN, FULL, CLEAN.replace("\n", "\r\n")])
def test_both_lists_of_gldv2_give_the_same(write, tree, content):
    examples = from_gldv2(write(content), tree)
    assert list(examples.sources) == [
        tree / "0/1/2/0123456789abcdef.jpg",
        tree / "f/e/d/fedcba9876543210.jpg",
        tree / "0/0/0/00000000000000aa.jpg",
        tree / "f/f/f/ffffffffffffffff.jpg",
    ]
    assert examples.class_names == ("3", "20")
    assert examples.labels.tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "begins with '', but a list of GLDv2 begins with 'id,url,landmark_id' or"),
        ("image,label\na,1\n", "begins with 'image,label'.* use csv"),
        ("landmark_id,images\n", "lists no images"),
        (f"landmark_id,images\n1,{IDS[0]}\n2,../../etc/passwd\n", r"line 3 is '2,\.\./\.\./etc"),
        ("landmark_id,images\n1,\n", r"line 2 is '1,\\n', not landmark_id,images"),
        (f"landmark_id,images\nx,{IDS[0]}\n", "line 2"),
        (f"landmark_id,images\n{'9' * 30},{IDS[0]}\n", "line 2"),
        (f"id,url,landmark_id\n{IDS[0]},u,1\n{IDS[1][:15]},u,1\n", "line 3"),
        (f"id,url,landmark_id\n{IDS[0]},1\n", "line 2"),
        (
            f"landmark_id,images\n1,{IDS[0]} {IDS[1]}\n2,{IDS[1]}\n",
            f"lists 1 images more than once, first {IDS[1]}",
        ),
    ],
)
def test_a_fault_in_a_list_of_gldv2_is_named(write, tree, content, message):
    with pytest.raises(DataError, match=message):
        from_gldv2(write(content), tree)


def test_a_wrong_folder_for_gldv2_is_found_out_at_once(write, tmp_path):
    with pytest.raises(DataError, match=r"None of 4 images .*/0/1/2/0123456789abcdef\.jpg"):
        from_gldv2(write(CLEAN), tmp_path)


def test_a_million_images_of_gldv2_are_not_looked_for(write, tmp_path, monkeypatch):
    numbers = np.random.default_rng(0).permutation(20_000)
    lines = "".join(f"{number % 7},{number:016x}\n" for number in numbers)
    looked = []
    monkeypatch.setattr("pathlib.Path.exists", lambda path: looked.append(path))
    with pytest.raises(DataError, match="None of 1000 images"):
        from_gldv2(write("landmark_id,images\n" + lines), tmp_path)
    assert len(looked) == 1000


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
KEEPS_FORMS = pytest.mark.skipif(
    sys.platform == "darwin", reason="this system takes both forms for one name"
)


@KEEPS_FORMS
@pytest.mark.parametrize(
    ("there", "listed", "found"),
    [
        ("{c}.jpg", "{d}.jpg", "{c}.jpg"),
        ("{d}.jpg", "{c}.jpg", "{d}.jpg"),
        ("{c}/{d}.jpg", "{d}/{c}.jpg", "{c}/{d}.jpg"),
        ("{d}/{c}{d}.jpg", "{d}/{c}{c}.jpg", "{d}/{c}{d}.jpg"),
        ("{c}/b.jpg", "{d}\\b.jpg", "{c}/b.jpg"),
        ("{c}.jpg", " {d}.jpg ", "{c}.jpg"),
        ("{c}.jpg", "./x/../{d}.jpg", "{c}.jpg"),
        ("{c}.jpg", "{d}.png", "{d}.png"),  # not there at all
        ("{c}{d}.jpg {d}{c}.jpg", "{c}{c}.jpg", "{c}{c}.jpg"),  # which of the two is unknown
        ("{c}.jpg {d}.jpg", "{d}.jpg", "{d}.jpg"),
    ],
)
def test_a_path_is_found_in_either_unicode_form(tmp_path, there, listed, found):
    def named(text):
        return text.format(c=COMPOSED, d=DECOMPOSED)

    for name in named(there).split():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert tables.image_path(named(listed), tmp_path, "line 2") == named(found)
    absolute = str(tmp_path / named(listed).strip().replace("\\", "/"))
    assert tables.image_path(absolute, tmp_path, "line 2") == str(tmp_path / named(found))


@KEEPS_FORMS
def test_a_file_that_comes_while_a_list_is_read_again_is_found(tmp_path):
    assert tables.image_path(f"{DECOMPOSED}.jpg", tmp_path, "line 2") == f"{DECOMPOSED}.jpg"
    (tmp_path / f"{COMPOSED}.jpg").touch()
    os.utime(tmp_path, (10**9, 10**9))  # the clock of a file system may be coarse
    assert tables.image_path(f"{DECOMPOSED}.jpg", tmp_path, "line 2") == f"{COMPOSED}.jpg"


@KEEPS_FORMS
def test_an_image_that_is_listed_in_both_unicode_forms_is_listed_twice(write, tmp_path):
    (tmp_path / f"{COMPOSED}.jpg").touch()
    content = f"image,label\n{COMPOSED}.jpg,1\n{DECOMPOSED}.jpg,2\n"
    with pytest.raises(DataError, match=r"line 3: .* is in line 2 already"):
        from_csv(write(content))
