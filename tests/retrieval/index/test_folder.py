"""The folder of an index: whole or not at all, whatever happens to it."""

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unit_rows import unit_rows

from dolg_zoo.retrieval.index.contents import read_contents, write_contents
from dolg_zoo.retrieval.index.folder import read_folder, write_folder
from dolg_zoo.retrieval.search.approximate import Approximate
from dolg_zoo.retrieval.search.exact import Exact

DIM = 16


def contents(rows=300, kind="exact", seed=0, names=None, metadata=None):
    descriptors = unit_rows(np.random.default_rng(seed), rows, DIM)
    nearest = Exact(descriptors) if kind == "exact" else Approximate.build(kind, descriptors, 0.9)
    return {
        "names": names or [f"{place}.jpg" for place in range(rows)],
        "descriptors": descriptors,
        "scales": (0.5, 1.0),
        "model_id": "0" * 32,
        "model_name": "a model",
        "skipped": {"bad.jpg": "why"},
        "metadata": metadata or [{}] * rows,
        "identities": [f"digest{row} facts" for row in range(rows)],
        "nearest": nearest,
        "folder": "photos",
    }


@pytest.fixture
def folder(tmp_path):
    write_contents(tmp_path / "index", contents())
    return tmp_path / "index"


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivfpq"])
def test_what_was_written_is_read(tmp_path, kind):
    names = ["a b.jpg", "größe/写真.png", "line\nbreak.jpg", os.fsdecode(b"\xff\xfe.jpg")]
    names += [f"{place}.jpg" for place in range(296)]
    metadata = [{"title": "\x1b[31m写"}, {"nested": {"list": [1, 2.5, None]}}] + [{}] * 298
    written = contents(kind=kind, names=names, metadata=metadata)
    write_contents(tmp_path / "index", written)
    back = read_contents(tmp_path / "index")
    for name in ("names", "metadata", "scales", "model_id", "model_name", "skipped"):
        assert back[name] == written[name]
    assert back["folder"] == str(Path("photos").absolute())
    assert isinstance(back["descriptors"], np.memmap)
    np.testing.assert_array_equal(back["descriptors"], written["descriptors"])
    assert (back["nearest"].kind, back["nearest"].recall) == (kind, written["nearest"].recall)
    queries = written["descriptors"][:20]
    for found, expected in zip(
        back["nearest"].search(queries, 5), written["nearest"].search(queries, 5), strict=True
    ):
        np.testing.assert_array_equal(found, expected)


def test_the_manifest_promises_what_the_files_are(folder):
    manifest = json.loads((folder / "index.json").read_text())
    assert (manifest["rows"], manifest["dim"], manifest["kind"]) == (300, DIM, "exact")
    for entry in manifest["files"].values():
        data = (folder / entry["name"]).read_bytes()
        assert len(data) == entry["bytes"]
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
    visible = {path.name for path in folder.iterdir() if path.name[0] != "."}
    assert visible == {"index.json", *(entry["name"] for entry in manifest["files"].values())}


def test_other_tools_read_the_files(folder):
    manifest = json.loads((folder / "index.json").read_text())
    assert np.load(folder / manifest["files"]["descriptors"]["name"]).shape == (300, DIM)
    table = pq.read_table(folder / manifest["files"]["items"]["name"])
    assert table["id"].to_pylist()[:2] == ["0.jpg", "1.jpg"]


# a change that is cut off


class Killed(BaseException):
    """What no code catches on purpose, as it cannot catch a SIGKILL."""


@pytest.mark.parametrize("at", range(8))
@pytest.mark.parametrize("call", ["replace", "fsync", "unlink"])
def test_a_change_that_is_cut_off_leaves_the_old_index_or_the_new(folder, monkeypatch, call, at):
    owner = os if call == "fsync" else Path
    real, calls = getattr(owner, call), []

    def killed(*arguments, **options):
        if len(calls) >= at:  # and nothing after it, such as the removal of what is unfinished
            raise Killed
        calls.append(arguments)
        return real(*arguments, **options)

    new = contents(rows=310, kind="hnsw", seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(owner, call, killed)
        if call != "unlink":
            patch.setattr(Path, "unlink", lambda *_, **__: None)
        with suppress(Killed):
            write_contents(folder, new)
    found = read_contents(folder)
    expected = new if len(found["names"]) == 310 else contents()
    np.testing.assert_array_equal(found["descriptors"], expected["descriptors"])
    assert found["names"] == expected["names"]

    write_contents(folder, new)  # the next write clears up
    assert len(read_contents(folder)["names"]) == 310
    assert len([path for path in folder.iterdir() if path.name != ".lock"]) == 4


def test_a_full_disk_leaves_the_old_index_and_nothing_else(folder):
    before = sorted(path.name for path in folder.iterdir())

    def full(file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_folder(folder, {}, {"descriptors": full})
    assert sorted(path.name for path in folder.iterdir()) == before
    assert len(read_contents(folder)["names"]) == 300


def test_an_index_that_is_open_stays_good_while_it_is_replaced(folder):
    old = read_contents(folder)
    write_contents(folder, contents(rows=50, seed=1))
    np.testing.assert_array_equal(old["descriptors"], contents()["descriptors"])


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "thesis.docx").touch()
    with pytest.raises(FileExistsError, match="not an index"):
        write_contents(tmp_path, contents(3))
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


# damage


def damage_byte(data):
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize("role", ["descriptors", "items", "faiss"])
@pytest.mark.parametrize("damage", [damage_byte, lambda data: data[:-9], lambda data: None])
def test_a_damaged_file_is_named(tmp_path, role, damage):
    write_contents(tmp_path / "index", contents(kind="hnsw"))
    (path,) = (tmp_path / "index").glob(f"{role}-*")
    data = damage(path.read_bytes())
    path.unlink() if data is None else path.write_bytes(data)
    with pytest.raises(ValueError, match=rf"{path.name}' is damaged: it"):
        read_contents(tmp_path / "index")


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format_version": 2}', "\xff" * 9])
def test_a_damaged_manifest_is_named(folder, text):
    (folder / "index.json").write_text(text)
    with pytest.raises(ValueError, match=r"index\.json"):
        read_contents(folder)


def test_no_index_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file index\.json"):
        read_contents(tmp_path)


# a stranger's folder, whose sums are right


def put(folder, role, data):
    """Puts bytes in the place of a file, with a manifest that promises them."""
    manifest = json.loads((folder / "index.json").read_text())
    digest = hashlib.sha256(data).hexdigest()
    name = f"{role}-{digest[:16]}" + {"descriptors": ".npy", "items": ".parquet"}.get(
        role, ".index"
    )
    (folder / name).write_bytes(data)
    manifest["files"][role] = {"name": name, "bytes": len(data), "sha256": digest}
    (folder / "index.json").write_text(json.dumps(manifest))


def npy(array, **options):
    path = Path("array.npy")
    np.save(path, array, **options)
    return path.read_bytes()


def parquet(**columns):
    out = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), out)
    return out.getvalue().to_pybytes()


class Trap:
    def __reduce__(self):
        return (os.mkdir, ("sprung",))


@pytest.mark.parametrize(
    "array",
    [
        np.array([[Trap()] * DIM] * 300),
        np.ones((300, DIM), np.float32),
        np.eye(300, DIM, dtype=np.float32),
        np.full((300, DIM), np.nan, np.float32),
        np.asfortranarray(contents()["descriptors"]),
        contents()["descriptors"].astype(np.float64),
        contents()["descriptors"][:299],
        contents()["descriptors"][:, : DIM - 1],
    ],
    ids=["pickle", "ones", "zeros", "nan", "columns", "float64", "too few", "too short"],
)
def test_descriptors_that_cannot_be_are_refused(folder, tmp_path, monkeypatch, array):
    monkeypatch.chdir(tmp_path)
    put(folder, "descriptors", npy(array))
    with pytest.raises(ValueError, match=r"descriptors-[0-9a-f]+\.npy'"):
        read_contents(folder)
    assert not Path("sprung").exists()


NAMES = [f"{place}.jpg" for place in range(300)]
NONE = pa.nulls(300, pa.int64())


@pytest.mark.parametrize(
    "data",
    [
        b"text",
        parquet(id=NAMES),
        parquet(id=NAMES[:9], metadata=[None] * 9, number=NONE[:9]),
        parquet(id=["../up.jpg", *NAMES[1:]], metadata=[None] * 300, number=NONE),
        parquet(id=["/etc/passwd", *NAMES[1:]], metadata=[None] * 300, number=NONE),
        parquet(id=["1.jpg", *NAMES[1:]], metadata=[None] * 300, number=NONE),
        parquet(id=[None, *NAMES[1:]], metadata=[None] * 300, number=NONE),
        parquet(id=list(range(300)), metadata=[None] * 300, number=NONE),
        parquet(id=NAMES, metadata=["{"] * 300, number=NONE),
        parquet(id=NAMES, metadata=["3"] * 300, number=NONE),
        parquet(id=NAMES, metadata=["[" * 100_000] * 300, number=NONE),
        parquet(id=NAMES, metadata=[None] * 300, number=["a"] * 300),
        parquet(id=NAMES, metadata=[None] * 300, number=[None, *range(299)]),
    ],
    ids=[
        *("no Parquet", "a column", "rows", "parent", "absolute", "twice", "no name", "numbers"),
        *("no JSON", "no object", "deep", "text as number", "a number missing"),
    ],
)
def test_items_that_cannot_be_are_refused(folder, data):
    put(folder, "items", data)
    with pytest.raises(ValueError, match=r"items-[0-9a-f]+\.parquet'"):
        read_contents(folder)


def faiss_bytes(spec, rows=300, dim=DIM, metric="METRIC_INNER_PRODUCT"):
    import faiss

    index = faiss.index_factory(dim, spec, getattr(faiss, metric))
    data = contents()["descriptors"][:rows, :dim].copy()
    index.train(data)
    index.add(data)
    return faiss.serialize_index(index).tobytes()


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"text",
        lambda: faiss_bytes("HNSW32_SQ8")[:-1000],
        lambda: faiss_bytes("Flat"),
        lambda: faiss_bytes("HNSW32_SQ8", rows=299),
        lambda: faiss_bytes("HNSW32_SQ8", dim=DIM - 1),
        lambda: faiss_bytes("HNSW32_SQ8", metric="METRIC_L2"),
    ],
    ids=["text", "cut off", "another kind", "too few", "another dimension", "another metric"],
)
def test_an_index_of_faiss_that_does_not_fit_is_refused(tmp_path, make):
    folder = tmp_path / "index"
    write_contents(folder, contents(kind="hnsw"))
    put(folder, "faiss", make())
    with pytest.raises(ValueError, match=r"faiss-[0-9a-f]+\.index'"):
        read_contents(folder)


def test_a_graph_that_leads_astray_is_refused(tmp_path):
    import faiss

    folder = tmp_path / "index"
    write_contents(folder, contents(kind="hnsw"))
    (path,) = folder.glob("faiss-*")
    index = faiss.read_index(str(path))
    neighbours = faiss.vector_to_array(index.hnsw.neighbors)
    neighbours[0] = 10**6
    faiss.copy_array_to_vector(neighbours, index.hnsw.neighbors)
    put(folder, "faiss", faiss.serialize_index(index).tobytes())
    with pytest.raises(ValueError, match=r"faiss-.*(not there|neighbor)"):
        read_contents(folder)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "lsh"},
        {"kind": ["exact"]},
        {"rows": -1},
        {"rows": "300"},
        {"rows": 2**60},
        {"dim": 0},
        {"dim": 2**40},
        {"scales": []},
        {"scales": [0]},
        {"scales": "1"},
        {"model_id": 3},
        {"skipped": ["a"]},
        {"images": 3},
        {"images": "\0"},
        {"kind": "ivfpq"},
        {"parameters": {"efSearch": -1}},
        {"parameters": {"efSearch": "9"}},
        {"parameters": 3},
        {"recall": "high"},
        {"files": 3},
        {"files": {}},
    ],
    ids=str,
)
def test_a_manifest_of_wrong_content_is_refused(tmp_path, change):
    folder = tmp_path / "index"
    write_contents(folder, contents(kind="hnsw"))
    manifest = json.loads((folder / "index.json").read_text())
    (folder / "index.json").write_text(json.dumps({**manifest, **change}))
    with pytest.raises(ValueError, match=r"index"):
        read_contents(folder)


@pytest.mark.parametrize(
    "entry",
    [
        {"name": "../descriptors-0123456789abcdef.npy"},
        {"name": "/etc/passwd"},
        {"name": "items-0123456789abcdef.parquet"},
        {"name": 3},
        {"bytes": "many"},
        {"sha256": "short"},
    ],
    ids=str,
)
def test_a_file_of_another_name_is_not_opened(folder, entry):
    manifest = json.loads((folder / "index.json").read_text())
    manifest["files"]["descriptors"] |= entry
    (folder / "index.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match=r"index\.json' has no file of an index as descriptors"):
        read_folder(folder)
