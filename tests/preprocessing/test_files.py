"""Listing of the images of a folder."""

import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from dolg_zoo.preprocessing import IMAGE_SUFFIXES, BadImageError, list_images, load_image
from dolg_zoo.preprocessing.decode import FORMATS
from dolg_zoo.preprocessing.sources import image_sources
from dolg_zoo.retrieval.extraction.sources import open_source


def touch(folder, *names):
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths


def test_images_of_all_levels_come_sorted(tmp_path):
    expected = touch(tmp_path, "a.jpg", "b/a.png", "b/c/z.webp", "c.tif")
    assert list_images(tmp_path) == expected


def test_a_folder_may_be_given_as_text(tmp_path):
    expected = touch(tmp_path, "a.jpg")
    assert list_images(str(tmp_path)) == expected


def test_every_suffix_counts_in_upper_and_lower_case(tmp_path):
    names = [name for end in IMAGE_SUFFIXES for name in (f"a{end.upper()}", f"b{end}")]
    expected = touch(tmp_path, *names)
    assert sorted(list_images(tmp_path)) == sorted(expected)


def test_every_suffix_that_pillow_knows_for_a_format_that_is_read_counts():
    known = {end for end, fmt in Image.registered_extensions().items() if fmt in FORMATS}
    assert known <= IMAGE_SUFFIXES
    assert set(FORMATS.values()) <= IMAGE_SUFFIXES


def test_a_photograph_that_an_earlier_version_kept_under_another_ending_is_listed(tmp_path):
    expected = touch(tmp_path, "added/0.jpeg2000")
    assert list_images(tmp_path) == expected


def test_other_files_do_not_count(tmp_path):
    expected = touch(tmp_path, "a.jpg")
    touch(tmp_path, "a.txt", "jpg", "a.jpg.part", "a.svg")
    assert list_images(tmp_path) == expected


def test_hidden_files_and_folders_are_skipped(tmp_path):
    expected = touch(tmp_path, "a.jpg")
    touch(tmp_path, "._a.jpg", ".jpg", ".thumbnails/a.jpg", "b/.c/d.jpg")
    assert list_images(tmp_path) == expected


def test_of_a_photo_library_the_originals_count(tmp_path):
    expected = touch(tmp_path, "My.photoslibrary/originals/1/a.jpg", "my.aplibrary/Masters/b.jpg")
    touch(
        tmp_path, "My.photoslibrary/resources/derivatives/1/a.jpeg", "my.aplibrary/Thumbnails/b.jpg"
    )
    assert list_images(tmp_path) == expected


OF_SYSTEMS = [
    "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
    "Catalog Previews.lrdata/0/a.jpg",
    "lost+found/#123.jpg",
    "#recycle/a.jpg",
    "#Recycle/a.jpg",
    "@Recycle/a.jpg",
    ".@__thumb/a.jpg",
    "@__thumb/a.jpg",
    "#snapshot/GMT-2024/a.jpg",
    "$RECYCLE.BIN/S-1-5-21/$R1.jpg",
    "$Recycle.Bin/a.jpg",
    "RECYCLER/a.jpg",
    "System Volume Information/a.jpg",
    "__MACOSX/._a.jpg",
    "__MACOSX/a.jpg",
    ".Trashes/a.jpg",
    ".Trash-1000/files/a.jpg",
    ".thumbnails/a.jpg",
    "._a.jpg",
    "Thumbs.db",
]


@pytest.mark.parametrize("name", OF_SYSTEMS)
def test_what_a_system_puts_aside_is_skipped_at_every_level(tmp_path, name):
    expected = touch(tmp_path, "a.jpg", "class/b.jpg")
    touch(tmp_path, name, f"class/{name}")
    assert list_images(tmp_path) == expected


def test_what_a_user_named_much_like_it_counts(tmp_path):
    expected = touch(tmp_path, *sorted(f"{n}/a.jpg" for n in ("#1", "@home", "eaDir", "recycle")))
    assert list_images(tmp_path) == expected


@pytest.mark.parametrize("name", [".photos", "@eaDir"])
def test_a_hidden_folder_may_be_asked_for(tmp_path, name):
    expected = touch(tmp_path / name, "a.jpg")
    assert list_images(tmp_path / name) == expected


@pytest.mark.parametrize(
    "name", ["a b.jpg", "café 写真.jpg", "two\nlines.jpg", os.fsdecode(b"\xff.jpg")]
)
def test_unusual_names_are_found(tmp_path, name):
    expected = touch(tmp_path, name)
    assert list_images(tmp_path) == expected


def test_a_folder_named_like_an_image_is_a_folder(tmp_path):
    expected = touch(tmp_path, "album.jpg/a.jpg")
    assert list_images(tmp_path) == expected


def test_linked_files_and_folders_are_followed(tmp_path):
    elsewhere = touch(tmp_path / "elsewhere", "x.jpg", "deep/y.jpg")
    gallery = tmp_path / "gallery"
    gallery.mkdir()
    (gallery / "link.jpg").symlink_to(elsewhere[0])
    (gallery / "more").symlink_to(tmp_path / "elsewhere")
    assert list_images(gallery) == [
        gallery / "link.jpg",
        gallery / "more/deep/y.jpg",
        gallery / "more/x.jpg",
    ]


def test_links_in_a_circle_end(tmp_path):
    expected = touch(tmp_path, "b/a.jpg")
    (tmp_path / "a").symlink_to(tmp_path)
    (tmp_path / "b" / "up").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    assert list_images(tmp_path) == expected


def test_a_folder_goes_by_its_own_name_rather_than_by_a_link(tmp_path):
    expected = touch(tmp_path, "z/a.jpg")
    (tmp_path / "a").symlink_to(tmp_path / "z")
    assert list_images(tmp_path) == expected


TOO_LONG = "x" * 300  # no name may have so many letters, so nobody can look whether it is a folder


def test_what_is_named_like_an_image_is_left_to_the_decoder_to_refuse(tmp_path):
    (tmp_path / "circle.jpg").symlink_to("circle.jpg")
    (tmp_path / "nowhere.jpg").symlink_to("absent.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "too_long.jpg").symlink_to(TOO_LONG)
    names = [path.name for path in list_images(tmp_path)]
    assert names == ["circle.jpg", "nowhere.jpg", "pipe.jpg", "too_long.jpg"]


@pytest.mark.parametrize("target", [TOO_LONG, "nowhere"])
def test_a_link_that_cannot_be_followed_is_said_and_costs_nothing_else(tmp_path, target):
    expected = touch(tmp_path, "a.jpg")
    (tmp_path / "album").symlink_to(target)
    listed = list_images(tmp_path)
    assert listed == expected
    assert [*listed.passed_over.folders] == ["album"] and "'album'" in str(listed.passed_over)


@pytest.fixture
def closed(monkeypatch):
    """Takes the right to list a folder away, from root too."""

    def close(folder):
        def scandir(path, real=os.scandir):
            if Path(path) == folder:
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        monkeypatch.setattr(os, "scandir", scandir)

    return close


def test_an_unreadable_subfolder_is_said_and_costs_nothing_else(tmp_path, closed):
    expected = touch(tmp_path, "a.jpg", "z/b.jpg")
    touch(tmp_path, "private/c.jpg")
    closed(tmp_path / "private")
    listed = list_images(tmp_path)
    assert listed == expected
    assert listed.passed_over.folders == {"private": "Permission denied"}


def test_an_unreadable_folder_is_an_error_where_it_is_the_one_asked_for(tmp_path, closed):
    closed(tmp_path)
    with pytest.raises(PermissionError):
        list_images(tmp_path)


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        list_images(tmp_path / "absent")


def test_an_image_is_itself_and_another_file_an_error(tmp_path):
    image, text = touch(tmp_path, "a.jpg", "a.txt")
    assert list_images(image) == [image]
    with pytest.raises(ValueError, match=r"neither images, .* 'a\.txt'"):
        list_images(text)


def test_a_folder_without_images_is_an_error(tmp_path):
    touch(tmp_path, "a.txt", ".hidden.jpg")
    with pytest.raises(ValueError, match=r"no visible file there ends in .*\.jpg"):
        list_images(tmp_path)


OTHERS = {"a.NEF": b"II*\0", "b.nef": b"II*\0", "c.psd": b"8BPS", "d.mov": b"\0\0\0\x14ftypqt  "}
UNTOLD = ["a.xmp", "b.jpg_original", "c.jpg~", "Thumbs.db", "d.THM", "desktop.ini", "LICENSE"]
UNTOLD += ["pspbrwse.jbf", "ZbThumbnail.info", "sync.ffs_db", "AVCHD/BDMV/INDEX.BDM", "00001.CPI"]


def test_what_could_be_a_photograph_is_counted_and_what_programs_keep_is_not(tmp_path):
    expected = touch(tmp_path, "a.jpg")
    for name, content in OTHERS.items():
        (tmp_path / name).write_bytes(content + bytes(100))
    for name in UNTOLD:
        touch(tmp_path, name)
        (tmp_path / name).write_bytes(b"\xff\xd8\xff" if name != "LICENSE" else b"a text")
    listed = list_images(tmp_path)
    assert listed == expected
    assert listed.passed_over.files == {".nef": 2, ".psd": 1, ".mov": 1}
    assert str(listed.passed_over) == "4 other files passed over: 2 .nef, 1 .psd, 1 .mov"


@pytest.mark.parametrize("name", ["download", "photo.jpg_large", "IMG.JPG-1", "a.unknown"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF"])
def test_a_picture_without_an_ending_that_says_so_is_an_image(tmp_path, name, kind):
    Image.new("RGB", (8, 8)).save(tmp_path / name, kind)
    assert list_images(tmp_path) == [tmp_path / name]
    assert load_image(tmp_path / name).size == (8, 8)


RECORDS = {  # what is in a folder of ours, and what another program has under the same name
    "index.json": ('{"format_version": 1, "model_id": "0", "files": {}}', '{"format_version": 1}'),
    "store.json": ('{"format_version": 2, "model_id": "0", "parts": []}', '{"model_id": "0"}'),
    "config.json": ('{"format_version": 1, "dolg": {}}', '{"format_version": 1, "theme": 0}'),
    "history.json": ('{"config": {}, "history": []}', '{"history": []}'),
    "preset/config.json": ('{"format_version": 1, "dolg": {}}', '{"format_version": 1}'),
    "checkpoints/step_000000001/state.json": ("{}", None),
}


@pytest.fixture(params=RECORDS)
def around(request, tmp_path):
    """A folder with folders of ours, of another program and of a user's who keeps a preset there"""
    name, (ours, theirs) = request.param, RECORDS[request.param]
    touch(tmp_path, *(f"{each}/{name}" for each in ("made", "deep/made", "of another")))
    for made in ("made", "deep/made"):
        (tmp_path / made / name).write_text(ours)
    (tmp_path / "of another" / name).write_text(theirs or ours)
    if "/" not in name:  # else a picture there would be a user's
        touch(tmp_path, "made/curves.png")
    (tmp_path / "link").symlink_to("deep/made")
    return tmp_path


@pytest.mark.parametrize("where", ["{}", "{}/**/*", ["{}/of another", "{}/", "{}", "{}/a.jpg"]])
def test_a_folder_that_the_package_made_is_passed_over_and_said(around, where):
    expected = touch(around, "a.jpg", "of another/b.jpg")
    several = not isinstance(where, str)
    listed = list_images([w.format(around) for w in where] if several else where.format(around))
    assert listed == expected
    begin = f"{around}/" if several else ""
    assert {f"{begin}made", f"{begin}deep/made"} == listed.passed_over.own_folders - {"link"}
    assert f"folders made by dolg-zoo passed over: '{begin}deep/made'" in str(listed.passed_over)


def test_what_was_passed_over_in_several_places_is_counted_once(tmp_path, caplog):
    (image,) = touch(tmp_path, "a/a.jpg")
    touch(tmp_path, "a/b.nef", "a/c/d.psd", "e/f.nef")
    (tmp_path / "a/c/away").symlink_to("absent")
    where = [tmp_path / "a", tmp_path / "a/*", f"{tmp_path}/a/c/../", image, tmp_path / "e"]
    passed_over = list_images(where).passed_over
    assert passed_over.files == {".nef": 1, ".psd": 1}  # in e there is no image: its error is told
    assert passed_over.folders == {f"{tmp_path}/a/c/away": "the link leads nowhere"}
    assert open_source(where[:1] * 2).passed_over == list_images(where[:1]).passed_over
    image_sources(where)
    assert str(passed_over) in caplog.text


@pytest.mark.parametrize("brand", [b"heic", b"hevc", b"mif1"])
def test_a_heic_that_cannot_be_read_yet_is_listed_and_refused_with_the_remedy(
    tmp_path, monkeypatch, brand
):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    box = b"\0\0\0\x1cftyp" + brand + b"\0\0\0\0mif1miafheic"
    (tmp_path / "IMG_2.HEIC").write_bytes(box + bytes(100))
    (path,) = list_images(tmp_path)
    with pytest.raises(BadImageError, match=r"IMG_2\.HEIC.*pip install 'dolg-zoo\[heif\]'"):
        load_image(path)


def test_a_photograph_in_a_format_that_is_not_read_is_listed_and_refused_in_words(tmp_path):
    (tmp_path / "IMG_3.jxl").write_bytes(b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100))
    (path,) = list_images(tmp_path)
    with pytest.raises(BadImageError, match=r"IMG_3\.jxl.*save it as JPEG"):
        load_image(path)
