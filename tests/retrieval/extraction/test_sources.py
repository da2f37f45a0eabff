import gzip
import io
import os
import sys
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from memory import peak_bytes

from dolg_zoo.preprocessing import BadImageError
from dolg_zoo.retrieval.extraction.identity import facts_of
from dolg_zoo.retrieval.extraction.sources import DataError, open_source

FILES = ("b.jpg", "a.png", "far/c.JPG", "far/d.txt", ".hidden.jpg")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "photos"
    (folder / "far").mkdir(parents=True)
    for name in FILES:
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.fixture
def shard(tmp_path):
    """Writes a tar file of names and contents, each with a text beside it."""

    def write(name, files, **options):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        with tarfile.open(path, options.pop("mode", "w"), **options) as archive:
            for member, content in files.items():
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return path

    return write


def read(source, known=()):
    """(id, what the image's bytes are) of each."""
    return [
        (image, found if isinstance(found, bytes | BadImageError) else found.read_bytes())
        for image, _, found in source.items(known)
    ]


# files


def test_a_folder_gives_what_is_below_it(folder):
    source = open_source(folder)
    assert read(source) == [("a.png", b"a.png"), ("b.jpg", b"b.jpg"), ("far/c.JPG", b"far/c.JPG")]
    assert len(source) == 3


def test_known_images_are_passed_over(folder):
    source = open_source(str(folder))
    known = {(id, facts) for id, facts, _ in source.items() if id != "b.jpg"}
    assert [image for image, _ in read(source, known)] == ["b.jpg"]
    assert source.missing(known) == 1


@pytest.mark.parametrize(
    "pattern, ids",
    [
        ("*", ["a.png", "b.jpg"]),
        ("*.jpg", ["b.jpg"]),
        ("**/*.*", ["a.png", "b.jpg", "far/c.JPG"]),
        ("f?r/*", ["far/c.JPG"]),
        ("far/*", ["c.JPG"]),
        ("b.jpg", ["b.jpg"]),
    ],
)
def test_a_pattern_gives_names_from_its_first_wildcard_on(folder, pattern, ids):
    source = open_source(f"{folder}/{pattern}")
    assert [image for image, _ in read(source)] == ids


@pytest.mark.parametrize("aside", ["@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX", ".thumbs"])
def test_a_pattern_passes_over_the_folders_of_systems_unless_it_names_them(folder, aside):
    for place in (folder / aside, folder / "far" / aside):
        place.mkdir()
        (place / "x.jpg").write_bytes(b"x")
    assert open_source(f"{folder}/**/*.jpg").ids == ["b.jpg"]
    assert open_source(f"{folder}/*/{aside}/*.jpg").ids == [f"far/{aside}/x.jpg"]
    assert open_source(f"{folder}/{aside}/*.jpg").ids == ["x.jpg"]


@pytest.mark.parametrize("aside", ["@eaDir", "#recycle", "$RECYCLE.BIN", "__MACOSX", ".thumbs"])
def test_a_shard_passes_over_the_folders_of_systems(shard, aside):
    path = shard("a.tar", {"a.jpg": b"1", f"{aside}/a.jpg": b"2", f"far/{aside}/._b.jpg": b"3"})
    assert read(open_source(path)) == [("a.tar/a.jpg", b"1")]


def test_a_pattern_takes_what_a_folder_takes_and_says_what_it_passes_over(tmp_path):
    for name, content in {"download": b"\xff\xd8\xff", "a.nef": b"II*\0", "a.txt": b"text"}.items():
        (tmp_path / name).write_bytes(content)
    for source in (open_source(tmp_path), open_source(f"{tmp_path}/*")):
        assert source.ids == ["download"] and source.passed_over.files == {".nef": 1}


def test_a_name_with_wildcards_is_taken_as_it_is_if_it_is_there(tmp_path):
    (tmp_path / "[1].jpg").write_bytes(b"x")
    assert read(open_source(tmp_path / "[1].jpg")) == [("[1].jpg", b"x")]


@pytest.mark.parametrize("pattern", ["gone", "gone/*.jpg", "*.webp", "gone-{00..02}.tar"])
def test_what_names_nothing_is_an_error_with_its_name(folder, pattern):
    with pytest.raises(FileNotFoundError, match=r"photos/(gone|\*)"):
        open_source(f"{folder}/{pattern}")


def test_other_files_are_an_error(folder):
    with pytest.raises(DataError, match=r"the first of 1 is 'd\.txt'"):
        open_source(folder / "far" / "d.txt")


def test_images_and_shards_at_once_are_an_error(folder, shard):
    shard("photos/x.tar", {"a.jpg": b"1"})
    with pytest.raises(DataError, match=r"'x\.tar'.*'a\.png'"):
        open_source(f"{folder}/*")


# lists


def write_list(path, kind, rows, columns=("image",)):
    if kind == "csv":
        lines = [",".join(columns), *(",".join(row) for row in rows)]
        path = path / "list.csv"
        path.write_text("\n".join(lines))
    else:
        path = path / "list.parquet"
        by_column = zip(*rows, strict=True) if rows else [[] for _ in columns]
        arrays = [pa.array(list(values), pa.string()) for values in by_column]
        pq.write_table(pa.table(dict(zip(columns, arrays, strict=True))), path)
    return path


kinds = pytest.mark.parametrize("kind", ["csv", "parquet"])


@kinds
@pytest.mark.parametrize("names", [["far/c.JPG", "./b.jpg"], ["far\\c.JPG", ".\\b.jpg"]])
def test_a_list_also_of_windows_gives_its_images_in_its_order(folder, kind, names):
    path = write_list(folder, kind, [[name] for name in names])
    assert read(open_source(path)) == [("far/c.JPG", b"far/c.JPG"), ("b.jpg", b"b.jpg")]


@kinds
@pytest.mark.parametrize(
    ("name", "message"),
    [("D:\\photos\\b.jpg", "a Windows machine"), ("far\\..\\..\\b.jpg", "leads out of the folder")],
)
def test_a_path_of_another_machine_is_refused(folder, kind, name, message):
    with pytest.raises(DataError, match=rf"(line|row) \d: .*{message}"):
        open_source(write_list(folder, kind, [[name]]))


@kinds
def test_a_list_may_say_the_ids(folder, kind):
    path = write_list(folder, kind, [["x", "b.jpg"], ["y", "b.jpg"]], ("id", "image"))
    assert read(open_source(path)) == [("x", b"b.jpg"), ("y", b"b.jpg")]


@kinds
def test_blanks_around_ids_and_paths_and_the_form_of_accents_do_not_matter(folder, kind):
    path = write_list(folder, kind, [["u\u0308 ", "b.jpg\u00a0"]], ("id", "image"))
    assert read(open_source(path)) == [("\u00fc", b"b.jpg")]
    path = write_list(folder, kind, [["x", "b.jpg"], ["x ", "a.png"]], ("id", "image"))
    with pytest.raises(DataError, match="'x' is in"):
        open_source(path)


@kinds
def test_a_lists_paths_may_be_relative_to_another_folder(folder, tmp_path, kind):
    path = write_list(tmp_path, kind, [["b.jpg"]])
    assert read(open_source(path, images=folder)) == [("b.jpg", b"b.jpg")]


@kinds
@pytest.mark.parametrize("how", ["absolute", "dots", "link"])
def test_a_path_that_leads_out_is_refused_unless_it_is_allowed(folder, tmp_path, kind, how):
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(b"outside")
    (folder / "link.jpg").symlink_to(outside)
    name = {"absolute": str(outside), "dots": "far/../../outside.jpg", "link": "link.jpg"}[how]
    path = write_list(folder, kind, [["b.jpg"], [name]])
    with pytest.raises(DataError, match=r"list\.\w+, (line 3|row 2): .*outside|link.*--anywhere"):
        open_source(path)
    assert read(open_source(path, anywhere=True))[1][1] == b"outside"


@kinds
@pytest.mark.parametrize(
    "rows, columns, message",
    [
        ([["b.jpg"], ["far/../b.jpg"]], ("image",), r"(line 3|row 2).*already"),
        ([["x", "a.png"], ["x", "b.jpg"]], ("id", "image"), r"(line 3|row 2): 'x' is in"),
        ([["a.png", "x"], ["b.jpg", " "]], ("image", "id"), r"(line 3|row 2): id is empty"),
        ([["b.jpg"]], ("path",), "column 'image'"),
        ([], ("image",), "lists no images"),
    ],
)
def test_a_faulty_list_is_refused_naming_the_line(folder, kind, rows, columns, message):
    with pytest.raises(DataError, match=message):
        open_source(write_list(folder, kind, rows, columns))


def test_a_parquet_list_without_a_value_or_text_is_refused(folder):
    for values, message in ((["b.jpg", None], "row 2: image is empty"), ([1], "must hold text")):
        pq.write_table(pa.table({"image": values}), folder / "list.parquet")
        with pytest.raises(DataError, match=message):
            open_source(folder / "list.parquet")


def test_a_damaged_parquet_list_is_refused(folder):
    (folder / "list.parquet").write_bytes(b"PAR1" + bytes(50) + b"PAR1")
    with pytest.raises(DataError, match=r"list\.parquet is no Parquet file"):
        open_source(folder / "list.parquet")


def test_the_options_of_a_list_are_for_lists(folder):
    for options in ({"images": folder}, {"anywhere": True}):
        with pytest.raises(DataError, match="is no list"):
            open_source(folder / "b.jpg", **options)


# shards


def test_a_shard_gives_its_images(shard):
    files = {"./k/0.jpg": b"zero", "k/0.txt": b"text", "1.PNG": b"one", "k/._0.jpg": b"rubbish"}
    source = open_source(shard("s-0.tar", files))
    assert read(source) == [("s-0.tar/k/0.jpg", b"zero"), ("s-0.tar/1.PNG", b"one")]
    assert source.missing(()) is None and source.faults == {}


@pytest.mark.parametrize("compression", ["gz", "bz2", "xz"])
def test_a_shard_may_be_compressed(shard, compression):
    path = shard(
        f"s.tar.{compression}", {"0.jpg": b"zero", "1.jpg": b"one"}, mode="w:" + compression
    )
    assert [content for _, content in read(open_source(path))] == [b"zero", b"one"]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("s-{009..011}.tar", ["s-009.tar", "s-010.tar", "s-011.tar"]),
        ("p{1..2}/s-{9..10}.tar", ["p1/s-9.tar", "p1/s-10.tar", "p2/s-9.tar", "p2/s-10.tar"]),
        ("p?/*.tar", ["p1/s-10.tar", "p1/s-9.tar", "p2/s-10.tar", "p2/s-9.tar"]),
    ],
)
def test_shards_by_ranges_and_wildcards(shard, tmp_path, pattern, names):
    for name in ("s-008.tar", *names):
        shard(name, {"k.jpg": name.encode()})
    source = open_source(f"{tmp_path}/{pattern}")
    assert read(source) == [(f"{name}/k.jpg", name.encode()) for name in names]


@pytest.mark.parametrize("text", ["{5..3}", "{0..999999999}"])
def test_a_range_that_is_none_is_refused(tmp_path, text):
    with pytest.raises(DataError, match="range"):
        open_source(f"{tmp_path}/s-{text}.tar")


def three_shards(shard):
    contents = {f"{number}.jpg": bytes([number]) * 3000 for number in range(3)}
    return [shard(f"s-{number}.tar", contents) for number in range(3)]


def images_of(source):
    counts = dict.fromkeys(["s-0.tar", "s-1.tar", "s-2.tar"], 0)
    for image, _ in read(source):
        counts[image.split("/")[0]] += 1
    return tuple(counts.values())


# of each member: 512 bytes of header, 3000 of content in 3072
@pytest.mark.parametrize(
    "kept, whole", [(0, 0), (100, 0), (600, 0), (3584, 1), (3700, 1), (5000, 1)]
)
def test_a_shard_cut_short_costs_its_remaining_images(shard, tmp_path, kept, whole):
    path = three_shards(shard)[1]
    path.write_bytes(path.read_bytes()[:kept])
    source = open_source(f"{tmp_path}/s-*.tar")
    assert images_of(source) == (3, whole, 3)
    assert list(source.faults) == ["s-1.tar"] and source.faults["s-1.tar"]


def test_a_damaged_header_is_not_taken_for_the_end(shard, tmp_path):
    path = three_shards(shard)[1]
    data = bytearray(path.read_bytes())
    data[3584 + 10] ^= 1  # in the second member's name: its checksum is wrong now
    path.write_bytes(data)
    source = open_source(f"{tmp_path}/s-{{0..2}}.tar")
    assert images_of(source) == (3, 1, 3)
    assert "damaged" in source.faults["s-1.tar"]


def test_known_images_of_a_shard_cut_short_are_still_passed_over(shard):
    path = three_shards(shard)[0]
    path.write_bytes(path.read_bytes()[:5000])
    source = open_source(path)
    known = {(id, facts_of(path)) for id in ("s-0.tar/0.jpg", "s-0.tar/1.jpg")}
    assert read(source, known) == []
    assert list(source.faults) == ["s-0.tar"]


def test_a_compressed_shard_cut_short_is_named(shard):
    path = shard(
        "s.tar.gz", {"0.jpg": os.urandom(50_000), "1.jpg": os.urandom(50_000)}, mode="w:gz"
    )
    path.write_bytes(path.read_bytes()[:80_000])
    source = open_source(path)
    assert [image for image, _ in read(source)] == ["s.tar.gz/0.jpg"]
    assert list(source.faults) == ["s.tar.gz"]


@pytest.mark.parametrize(
    "rubbish",
    # named, for gzip writes the time of day, and workers must collect the same tests
    [
        pytest.param(b"no tar at all" * 100, id="text"),
        pytest.param(gzip.compress(b"x" * 5000), id="gzip"),
    ],
)
def test_what_is_no_tar_is_named(shard, tmp_path, rubbish):
    three_shards(shard)[1].write_bytes(rubbish)
    source = open_source(f"{tmp_path}/s-*.tar")
    assert images_of(source) == (3, 0, 3) and list(source.faults) == ["s-1.tar"]


def test_a_shard_of_a_range_that_is_missing_is_named(shard, tmp_path):
    three_shards(shard)[1].unlink()
    source = open_source(f"{tmp_path}/s-{{0..2}}.tar")
    assert images_of(source) == (3, 0, 3)
    assert source.faults == {"s-1.tar": "No such file or directory"}


def test_what_is_no_plain_file_in_a_shard_is_not_followed(tmp_path):
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (("link.jpg", tarfile.SYMTYPE), ("hard.jpg", tarfile.LNKTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, str(tmp_path / "secret.jpg")
            archive.addfile(info)
        for name in ("../out.jpg", "/etc/out.jpg"):
            archive.addfile(tarfile.TarInfo(name))
    reasons = [error.reason for _, error in read(open_source(path))]
    assert ["link" in reason for reason in reasons] == [True, True, False, False]
    assert ["leads out" in reason for reason in reasons] == [False, False, True, True]


def test_a_member_too_large_is_refused_and_the_next_ones_are_read(tmp_path):
    path = tmp_path / "s.tar"
    info = tarfile.TarInfo("huge.jpg")
    info.size = 2**30  # zeros that take no room on the disk
    following = tarfile.TarInfo("next.jpg")
    with path.open("wb") as file:
        file.write(info.tobuf())
        file.seek(2**30, os.SEEK_CUR)
        file.write(following.tobuf() + bytes(1024))
    found = read(open_source(path))
    assert "more than the limit" in found[0][1].reason
    assert found[1] == ("s.tar/next.jpg", b"")


def test_memory_does_not_grow_with_a_shard(tmp_path):
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w") as archive:
        for number in range(3000):
            archive.addfile(tarfile.TarInfo(f"{number:06}.jpg"))
    for all_known in (True, False):
        is_known = type("Known", (), {"__contains__": lambda self, name, all=all_known: all})

        def read_all(known=is_known):
            for _ in open_source(path).items(known()):
                pass

        # a TarInfo that is kept takes more than a KiB
        assert any(peak_bytes(read_all) < 500_000 for _ in range(3))


@pytest.mark.skipif(sys.platform == "darwin", reason="both forms are one name there")
@kinds
def test_a_list_with_decomposed_accents_finds_files_with_composed_ones(tmp_path, kind):
    (tmp_path / "caf\u00e9.png").touch()
    path = write_list(tmp_path, kind, [["cafe\u0301.png"]])
    assert list(open_source(path).names) == ["caf\u00e9.png"]
