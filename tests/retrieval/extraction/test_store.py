import dataclasses
import hashlib
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from own_mounts import IN_OWN_MOUNTS, can_mount

from dolg_zoo.errors import OutputError
from dolg_zoo.retrieval.extraction.store import DescriptorStore, StoreError

SETTINGS = {"model_id": "a" * 32, "model_name": "a model", "dim": 3, "scales": (0.5, 1.0)}


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def rows(rng):
    return rng.normal(size=(5, 3)).astype(np.float32)


@pytest.fixture
def filled(folder, rows):
    """Two parts, of two images and of three."""
    store = DescriptorStore.create(folder, **SETTINGS)
    store.append(["a", "b"], rows[:2])
    store.append(["c/ä.jpg", "d", "e"], rows[2:])
    return store


def manifest_of(folder):
    return json.loads((folder / "store.json").read_text())


def rewrite(folder, change):
    document = manifest_of(folder)
    change(document)
    (folder / "store.json").write_text(json.dumps(document))


def put(folder, table, **options):
    """Puts a table in the place of the first part, with a manifest that fits it."""
    path = folder / "part-000000.parquet"
    options = {"compression": "none", "use_dictionary": False, **options}
    pq.write_table(table, path, **options)
    data = path.read_bytes()
    fit = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    rewrite(folder, lambda document: document["parts"][0].update(fit))


def table_of(ids, descriptors, dim=3):
    values = pa.array(np.asarray(descriptors, np.float32).ravel())
    element = pa.field("element", pa.float32(), nullable=False)
    schema = pa.schema(
        [
            pa.field("id", pa.string(), nullable=False),
            pa.field("descriptor", pa.list_(element, dim), nullable=False),
        ]
    )
    columns = [pa.array(ids, pa.string()), pa.FixedSizeListArray.from_arrays(values, dim)]
    return pa.Table.from_arrays(columns, schema=schema)


def test_what_is_appended_is_read_back_by_another(filled, folder, rows):
    store = DescriptorStore.open(folder)
    ids, descriptors = store.read()
    assert ids == store.ids() == ["a", "b", "c/ä.jpg", "d", "e"]
    assert len(store) == 5 and "d" in store and "f" not in store
    assert descriptors.dtype == np.float32
    np.testing.assert_array_equal(descriptors, rows)
    (ids, first), (_, second) = store.parts()
    assert ids == ["a", "b"]
    np.testing.assert_array_equal(first, rows[:2])
    np.testing.assert_array_equal(second, rows[2:])
    for field in dataclasses.fields(store.settings):
        assert getattr(store, field.name) == getattr(store.settings, field.name)


def test_an_empty_store_is_one(folder):
    store = DescriptorStore.create(folder, **SETTINGS)
    store.append([], np.zeros((0, 3), np.float32))
    ids, descriptors = store.read()
    assert ids == [] and descriptors.shape == (0, 3) and list(store.parts()) == []


def test_any_parquet_reader_reads_a_part(filled, folder, rows):
    table = pq.read_table(folder / "part-000001.parquet")
    assert table["id"].to_pylist() == ["c/ä.jpg", "d", "e"]
    assert table.schema.field("descriptor").type.list_size == 3
    np.testing.assert_array_equal(np.array(table["descriptor"].to_pylist(), np.float32), rows[2:])


def test_the_manifest_tells_what_the_files_are(filled, folder):
    document = manifest_of(folder)
    for part in document.pop("parts"):
        data = (folder / part["file"]).read_bytes()
        assert part["bytes"] == len(data) and part["sha256"] == hashlib.sha256(data).hexdigest()
    assert document == {
        "format_version": 2, "dtype": "float32", **SETTINGS, "scales": [0.5, 1.0]
    }  # fmt: skip


def test_float16_rounds_to_the_nearest(folder, rows):
    store = DescriptorStore.create(folder, **SETTINGS, dtype="float16")
    store.append(list("abcde"), rows)
    _, descriptors = DescriptorStore.open(folder).read()
    assert descriptors.dtype == np.float32
    np.testing.assert_array_equal(descriptors, rows.astype(np.float16).astype(np.float32))


def test_create_opens_what_has_the_same_settings(filled, folder):
    other_name = {**SETTINGS, "model_name": "the same weights elsewhere", "scales": [0.5, 1]}
    assert len(DescriptorStore.create(folder, **other_name)) == 5


@pytest.mark.parametrize(
    "setting, value, shown",
    [
        ("model_id", "b" * 32, ("a" * 32, "b" * 32, "'a model'")),
        ("dim", 4, ("dim 3 there, 4 here",)),
        ("scales", (1.0,), ("scales 0.5, 1 there, 1 here",)),
        ("dtype", "float16", ("dtype float32 there, float16 here",)),
    ],
)
def test_other_settings_are_refused_naming_both(filled, folder, setting, value, shown):
    with pytest.raises(StoreError) as error:
        DescriptorStore.create(folder, **{**SETTINGS, setting: value})
    assert all(text in str(error.value) for text in (str(folder), *shown))


@pytest.mark.parametrize(
    "setting, value",
    [
        ("model_id", ""), ("model_name", "x" * 2000), ("dim", 0), ("dim", True), ("dim", 10**9),
        ("scales", ()), ("scales", (0.0,)), ("scales", (float("nan"),)), ("dtype", "float64"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(folder, setting, value):
    with pytest.raises(StoreError, match=setting):
        DescriptorStore.create(folder, **{**SETTINGS, setting: value})
    assert not folder.exists()


def test_a_folder_with_other_files_is_left_alone(folder):
    folder.mkdir()
    (folder / "letter.txt").write_text("dear")
    with pytest.raises(OutputError, match="not a store"):
        DescriptorStore.create(folder, **SETTINGS)
    assert [path.name for path in folder.iterdir()] == ["letter.txt"]


def test_where_there_is_none_open_says_how_to_make_one(folder):
    with pytest.raises(FileNotFoundError, match="dolg embed"):
        DescriptorStore.open(folder)


@pytest.mark.parametrize("ids", [["f", "a"], ["f", "f"]])
def test_an_id_is_taken_once(filled, folder, rows, ids):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(StoreError, match=f"id '{ids[1]}' is in the store"):
        DescriptorStore.open(folder).append(ids, rows[:2])
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("name", ["", 3, None, "\udcff.jpg"])
def test_what_is_no_name_is_refused(filled, rows, name):
    with pytest.raises(StoreError, match="id "):
        filled.append([name], rows[:1])
    assert len(filled) == 5


@pytest.mark.parametrize(
    "descriptors, message",
    [
        (np.zeros((2, 4)), r"shape \(2, 3\), not float64 of \(2, 4\)"),
        (np.zeros((1, 3)), "shape"),
        (np.array([["x"] * 3] * 2), "must be numbers"),
        (np.array([[0, 0, 0], [0, np.nan, 0]]), "'g' is not finite"),
        (np.array([[0, np.inf, 0], [0, 0, 0]]), "'f' is not finite"),
    ],
)
def test_wrong_descriptors_are_refused(filled, descriptors, message):
    with pytest.raises(StoreError, match=message):
        filled.append(["f", "g"], descriptors)
    assert len(filled) == 5


def test_what_float16_cannot_hold_is_refused(folder):
    store = DescriptorStore.create(folder, **SETTINGS, dtype="float16")
    with pytest.raises(StoreError, match="not finite in float16"):
        store.append(["a"], np.array([[1e6, 0, 0]]))


def test_a_damaged_part_is_named_with_both_hashes(filled, folder):
    path = folder / "part-000001.parquet"
    data = bytearray(path.read_bytes())
    data[40] ^= 1
    path.write_bytes(data)
    promised = manifest_of(folder)["parts"][1]["sha256"]
    store = DescriptorStore.open(folder)
    for read in (lambda: store.read(), lambda: list(store.parts()), lambda: store.ids()):
        with pytest.raises(StoreError) as error:
            read()
        for text in (str(path), promised, hashlib.sha256(data).hexdigest(), "--repair"):
            assert text in str(error.value)


@pytest.mark.parametrize(
    ("length", "fault"),
    [(-1, r"it has \d+ bytes"), (None, "it is missing"), (0, "it is not a file")],
)
def test_a_part_that_is_cut_short_or_missing_is_named(filled, folder, length, fault):
    path = folder / "part-000000.parquet"
    data = path.read_bytes()
    path.unlink()
    if length == 0:
        path.mkdir()
    elif length:
        path.write_bytes(data[:length])
    with pytest.raises(StoreError, match=f"part-000000.parquet' is damaged: {fault}"):
        filled.read()


def test_damaged_parts_can_be_forgotten(filled, folder, rows):
    (folder / "part-000000.parquet").write_bytes(b"rubbish")
    assert filled.forget_damaged() == {"part-000000.parquet": 2}
    assert filled.forget_damaged() == {}
    assert DescriptorStore.open(folder).ids() == ["c/ä.jpg", "d", "e"]
    filled.append(["a", "b"], rows[:2])
    ids, descriptors = filled.read()
    np.testing.assert_array_equal(descriptors[ids.index("b")], rows[1])


def test_a_part_that_the_manifest_does_not_know_is_written_over(filled, folder, rows):
    (folder / "part-000002.parquet").write_bytes(b"of a process that was killed")
    store = DescriptorStore.open(folder)
    assert len(store.ids()) == 5
    store.append(["f"], rows[:1])
    assert DescriptorStore.open(folder).ids()[-1] == "f"


def test_two_add_to_one_store_without_loss(folder, rng):
    stores = [DescriptorStore.create(folder, **SETTINGS) for _ in range(2)]
    descriptors = rng.normal(size=(2, 20, 3)).astype(np.float32)

    def fill(number):
        for turn in range(20):
            stores[number].append([f"{number}-{turn}"], descriptors[number, turn][None])

    threads = [threading.Thread(target=fill, args=[number]) for number in range(2)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    ids, found = DescriptorStore.open(folder).read()
    assert sorted(ids) == sorted(f"{number}-{turn}" for number in range(2) for turn in range(20))
    for name, row in zip(ids, found, strict=True):
        number, turn = map(int, name.split("-"))
        np.testing.assert_array_equal(row, descriptors[number, turn])
    with pytest.raises(StoreError, match="'1-3' is in the store"):
        stores[0].append(["1-3"], descriptors[0, :1])


def test_a_full_disk_costs_the_part_that_found_no_room(tmp_path):
    if not can_mount():
        pytest.skip("needs a user namespace to mount in")
    code = (
        "import sys, numpy as np\n"
        "from dolg_zoo.retrieval.extraction.store import DescriptorStore\n"
        "settings = dict(model_id='a', model_name='b', dim=512, scales=(1.0,))\n"
        "store = DescriptorStore.create(sys.argv[1] + '/store', **settings)\n"
        "try:\n"
        "    for turn in range(100):\n"
        "        store.append([str(turn)] , np.full((1, 512), turn))\n"
        "except OSError as error:\n"
        "    print(error.errno == 28, 10 < turn < 100)\n"
        "ids, rows = DescriptorStore.open(sys.argv[1] + '/store').read()\n"
        "print(ids == [str(n) for n in range(turn)], (rows[:, 7] == np.arange(turn)).all())\n"
    )
    mount = (
        f'mount -t tmpfs -o size=128k none {tmp_path} && exec {sys.executable} -c "$0" {tmp_path}'
    )
    done = subprocess.run([*IN_OWN_MOUNTS, "sh", "-c", mount, code], capture_output=True, text=True)
    assert done.stdout.split() == ["True"] * 4, done.stderr


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_killed_between_part_and_manifest(filled, folder):
    code = (
        "import os, signal, sys, numpy as np\n"
        "from dolg_zoo.retrieval.extraction.store import DescriptorStore, descriptor_store\n"
        "kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "descriptor_store.write_manifest = kill\n"
        "DescriptorStore.open(sys.argv[1]).append(['f'], np.zeros((1, 3)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(folder)])
    assert done.returncode == -signal.SIGKILL and (folder / "part-000002.parquet").exists()
    store = DescriptorStore.open(folder)
    assert len(store.ids()) == 5
    store.append(["f"], np.ones((1, 3)))
    np.testing.assert_array_equal(store.read()[1][5], [1, 1, 1])


def first(**values):
    return lambda document: document["parts"][0].update(values)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: document.update(format_version=3),
        lambda document: document.update(dim="3"),
        lambda document: document.update(dim=10**30),
        lambda document: document.update(scales="1"),
        lambda document: document.update(scales=[True]),
        lambda document: document.update(scales=[10**400]),
        lambda document: document.update(model_id=None),
        lambda document: document.update(dtype=["float32"]),
        lambda document: document.update(extra=1),
        lambda document: document.pop("dim"),
        lambda document: document.update(parts={"a": 1}),
        lambda document: document.update(parts=["part-000000.parquet"]),
        lambda document: document["parts"].append(document["parts"][0]),
        first(file="../part-000000.parquet"),
        first(file="/etc/passwd"),
        first(file="part-٠٠٠٠٠٠.parquet"),
        first(file=7),
        first(rows=0),
        first(rows=True),
        first(rows=10**12),
        first(bytes="many"),
        first(sha256="A" * 64),
        first(images=7),
        first(more=1),
    ],
)
def test_a_hostile_manifest_is_refused_with_its_name(filled, folder, change):
    rewrite(folder, change)
    with pytest.raises(StoreError, match=r"store\.json"):
        DescriptorStore.open(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"dim": NaN}', "\udcff"])
def test_a_manifest_that_is_no_json_object_is_refused(filled, folder, text):
    (folder / "store.json").write_text(text, errors="surrogateescape")
    with pytest.raises(StoreError, match=r"store\.json"):
        DescriptorStore.open(folder)


@pytest.mark.parametrize(
    ("table", "options", "fault"),
    [
        (table_of(["a", "b", "c"], np.ones((3, 3))), {}, ""),
        (table_of(["a", ""], np.ones((2, 3))), {}, ""),
        (table_of(["a", "b"], [[1, 1, 1], [1, np.nan, 1]]), {}, ""),
        (table_of(["a", "b"], np.ones((2, 3))), {"compression": "zstd"}, ""),
        (table_of(["a", "b"], np.ones((2, 3))), {"use_dictionary": True}, ""),
        (
            table_of(["a", "b"], np.ones((2, 3))).append_column("x", pa.array([1, 2])),
            {},
            "its columns are",
        ),
    ],
)
def test_a_part_that_is_not_ours_is_refused(filled, folder, table, options, fault):
    put(folder, table, **options)
    with pytest.raises(StoreError, match=rf"part-000000.parquet' is damaged: dolg.* no .*{fault}"):
        DescriptorStore.open(folder).read()


def test_a_part_that_is_no_parquet_is_refused(filled, folder):
    data = b"PAR1" + bytes(2000) + b"PAR1"
    (folder / "part-000000.parquet").write_bytes(data)
    fit = first(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    rewrite(folder, fit)
    with pytest.raises(StoreError, match="dolg-zoo wrote no such file"):
        DescriptorStore.open(folder).read()


def test_an_id_in_two_parts_is_refused(filled, folder):
    put(folder, table_of(["a", "d"], np.ones((2, 3))))
    for read in ("ids", "read"):
        with pytest.raises(StoreError, match="id 'd' more than once"):
            getattr(DescriptorStore.open(folder), read)()


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="needs Linux's list of threads")
def test_reading_leaves_no_thread_that_could_hold_pythons_bytes(filled, folder):
    # if one still frees them while Python ends, the process is aborted
    code = (
        "import os, sys, pyarrow.parquet\n"
        "from dolg_zoo.retrieval import DescriptorStore\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "assert len(DescriptorStore.open(sys.argv[1]).read()[0]) == 5\n"
        "print(before, len(os.listdir('/proc/self/task')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, check=True
    )
    before, after = done.stdout.split()
    assert before == after
