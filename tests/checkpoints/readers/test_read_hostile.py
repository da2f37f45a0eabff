"""Files made to run something, to exhaust the machine or to reach outside of themselves."""

import os
import pickle
import re
import struct
import zipfile

import numpy as np
import pytest

from dolg_zoo.weights import CheckpointError, read_state_dict

FORMATS = ["zip", "stream", "paddle"]


@pytest.fixture(params=FORMATS)
def pack(request, handmade):
    """Puts the value of a pickle into a file of each format."""

    def into_file(*value):
        match request.param:
            case "zip":
                return handmade.torch_zip(b"".join(value), {})
            case "stream":
                return handmade.torch_stream(b"".join(value), {})
            case "paddle":
                return handmade.program(*value)

    return into_file


@pytest.fixture
def value(handmade):
    """The pickle of a state dict with a tensor x."""
    return handmade.mapping({"x": handmade.tensor(handmade.storage("0"))})


@pytest.fixture
def whole_zip(handmade, value):
    return handmade.torch_zip(value)


@pytest.fixture(params=["zip", "stream"])
def pack_torch(request, handmade):
    return {"zip": handmade.torch_zip, "stream": handmade.torch_stream}[request.param]


def test_the_handmade_files_are_sound(read, handmade):
    for name, data in handmade.seeds().items():
        assert read(data), name


# What would run something


@pytest.mark.parametrize("module", ["os", "posix", "nt"])
def test_a_command_is_named_and_not_run(pack, refusal, handmade, tmp_path, module):
    marker = tmp_path / "marker"
    value = handmade.call(handmade.name(module, "system"), handmade.text(f"touch {marker}"))
    message = refusal(pack(value))
    assert f"{module}.system" in message
    assert "Nothing was run. If you trust the file" in message
    assert not marker.exists()


def test_the_marker_would_appear_if_it_were_run(handmade, tmp_path):
    marker = tmp_path / "marker"
    pickle.loads(
        handmade.program(
            handmade.call(handmade.name("os", "system"), handmade.text(f"touch {marker}"))
        )
    )
    assert marker.exists()


@pytest.mark.parametrize(
    "module, name",
    [
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("__builtin__", "exec"),
        ("numpy.core.multiarray", "fromfile"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy", "load"),
        ("torch", "load"),
        ("torch.hub", "load"),
        ("collections", "OrderedDict.__init__"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
        ("torch.storage", "_load_from_bytes"),
        ("torch._tensor", "_rebuild_from_type_v2"),
    ],
)
def test_no_other_global_is_taken(pack, refusal, handmade, module, name):
    assert f"{module}.{name}" in refusal(pack(handmade.name(module, name)))


def test_a_global_named_from_the_stack_is_refused_too(pack, refusal, handmade):
    assert "os.system" in refusal(pack(handmade.text("os"), handmade.text("system"), b"\x93"))


@pytest.mark.parametrize(
    "opcode, name",
    [
        (b"(ios\nsystem\n", "INST"),
        (b"o", "OBJ"),
        (b"\x81", "NEWOBJ"),
        (b"\x92", "NEWOBJ_EX"),
        (b"\x82\x01", "EXT1"),
        (b"Pstorage\n", "PERSID"),
        (b"\x97", "NEXT_BUFFER"),
        (b"I10\n", "INT"),
        (b"S'a'\n", "STRING"),
        (b"2", "DUP"),
    ],
)
def test_instructions_beyond_those_needed_are_refused_by_name(pack, refusal, opcode, name):
    assert f"the pickle instruction {name}," in refusal(pack(b"NNN", opcode))


def test_arrays_of_a_class_of_their_own_are_refused(refusal, handmade):
    rebuild = handmade.name("numpy.core.multiarray", "_reconstruct")
    kind = handmade.name("numpy", "dtype")
    value = handmade.call(rebuild, kind, handmade.numbers([0]), handmade.text("b"))
    assert "another class than numpy.ndarray" in refusal(handmade.program(value))


def test_only_functions_that_were_named_are_called(pack, refusal, handmade):
    assert "asks to call 'x'" in refusal(pack(handmade.text("x"), b")R"))


def test_no_value_gets_a_state_that_it_has_no_use_for(pack, refusal):
    assert "inner state of a list" in refusal(pack(b"]}b"))


# What would exhaust the machine


@pytest.mark.parametrize(
    "opcode", [b"\x8e" + struct.pack("<Q", 2**60), b"\x8d" + struct.pack("<Q", 2**60)]
)
def test_a_giant_string_is_not_believed(pack, refusal, opcode):
    assert f"{2**60} bytes are promised" in refusal(pack(opcode, b"x"))


@pytest.mark.parametrize(
    "opcodes",
    [
        *(b"N(\x85", b"Nt", b"}(Nu", b"h\x05", b"Na", b"NNa", b"NNNs", b"X\x01\0\0\0\xff"),
        *(b"N\x81", b"\x93", b"b"),
    ],
)
def test_a_pickle_that_makes_no_sense_is_told(pack, refusal, opcodes):
    assert "a pickle that makes no sense" in refusal(pack(opcodes))


@pytest.mark.parametrize(
    "opcodes, reason",
    [
        (b"c" + b"x" * 2000 + b"\ny\n", "a name without an end"),
        (b"\x00", "the byte 0x00"),
    ],
)
def test_what_is_no_instruction_is_told(pack, refusal, opcodes, reason):
    assert reason in refusal(pack(opcodes))


def test_a_stream_does_not_go_backwards(refusal, handmade, value):
    data = handmade.torch_stream(value, {"0": (-6, handmade.FLOATS.tobytes())})
    assert "ends early: -24 bytes" in refusal(data)


def test_a_giant_memo_index_costs_nothing(pack_torch, read, value):
    noted = b"r" + struct.pack("<I", 2**31)
    assert list(read(pack_torch(value + noted))) == ["x"]


@pytest.mark.parametrize(
    "offset, sizes, strides, reason",
    [
        (0, (2, 3), (3, 2), "ends outside"),
        (1, (2, 3), (3, 1), "ends outside"),
        (2**62, (1,), (1,), "ends outside"),
        (0, (2, 3), (-3, 1), "-3 for a stride"),
        (0, (2,), (2**63,), "ends outside"),
        (-1, (2, 3), (3, 1), "-1 for a stride or offset"),
        (0, (-1,), (1,), "size -1"),
        (0, (2**60,), (0,), "size 1152921504606846976"),
        (0, (99, 99, 99), (0, 0, 0), "too small for"),
        (0, (2**32, 2**32), (0, 0), "of the size 4294967296"),
        (0, (2**500,), (0,), "a giant integer"),
        (0, (0, 2**62), (1, 1), "of the size"),
        (0, (0,) + (99,) * 20, (1,) * 21, "too small for"),
        (0, (1,) * 33, (1,) * 33, "shape is a tuple"),
        (0, (2, 3), (3,), "a tuple for strides"),
    ],
)
def test_a_tensor_stays_inside_its_storage(
    pack_torch, refusal, handmade, offset, sizes, strides, reason
):
    value = handmade.tensor(handmade.storage("0"), offset, sizes, strides)
    assert reason in refusal(pack_torch(handmade.mapping({"x": value})))


@pytest.mark.parametrize("count", [7, 2**60, 2**64])
def test_a_storage_has_the_elements_that_the_file_holds(pack_torch, refusal, handmade, count):
    value = handmade.tensor(handmade.storage("0", count=count))
    message = refusal(pack_torch(handmade.mapping({"x": value})))
    assert "has 24 bytes for storage '0', which has" in message


def test_a_step_that_is_never_taken_may_be_giant(pack_torch, read, handmade):
    value = handmade.tensor(handmade.storage("0"), 0, (1, 6), (2**70, 1))
    [array] = read(pack_torch(handmade.mapping({"x": value}))).values()
    np.testing.assert_array_equal(array, handmade.FLOATS[None])


def test_an_expanded_tensor_may_have_as_many_elements_as_the_file_has_bytes(
    pack_torch, read, refusal, handmade
):
    def expanded(size):
        value = handmade.tensor(handmade.storage("0"), 1, (size,), (0,))
        return pack_torch(handmade.mapping({"x": value}))

    [array] = read(expanded(200)).values()
    np.testing.assert_array_equal(array, np.ones(200, "f4"))
    assert "of the size 5000" in refusal(expanded(5000))


@pytest.mark.parametrize(
    "nest", ["dict", *(pytest.param(nest, marks=pytest.mark.slow) for nest in ("list", "tuple"))]
)
def test_deep_nesting_neither_recurses_nor_crashes(pack, refusal, nest):
    depth = 100_000
    value = {
        "list": b"]" * depth + b"a" * (depth - 1),
        "tuple": b")" + b"\x85" * depth,
        "dict": b"}" + b"K\x01}" * depth + b"s" * depth,
    }
    assert re.search("instead of a state dict|holds no tensors", refusal(pack(value[nest])))


def test_a_deep_tuple_is_no_key_and_not_printed(pack, refusal):
    assert "a tuple as a key" in refusal(pack(b"})" + b"\x85" * 100_000 + b"Ns"))


def test_the_same_arguments_are_not_taken_apart_over_and_over(pack_torch, refusal, handmade):
    """In 100,000 calls of 500,000 arguments each."""
    rebuild = handmade.name("torch._utils", "_rebuild_tensor_v2") + b"q\x00"
    arguments = handmade.row(handmade.storage("0"), b"N" * 500_000) + b"q\x01"
    calls = b"h\x00h\x01R" * 100_000
    data = pack_torch(rebuild + arguments + b"(" + calls + b"t")
    assert "a call with 500001 arguments" in refusal(data)


def test_long_names_of_many_prefixes_are_cut_once(read, handmade):
    one = handmade.tensor(handmade.storage("0")) + b"q\x09"
    name = "module." * 9000
    items = {name + "0": one} | {f"{name}{i}": b"h\x09" for i in range(1, 250)}
    found = read(handmade.torch_zip(handmade.mapping(items)))
    assert list(found) == [str(i) for i in range(250)]


@pytest.mark.parametrize("key", [b"]", b"G" + bytes(8), b"\x8a\xff" + b"\x7f" * 255])
def test_keys_are_names_and_small_numbers(pack, refusal, key):
    assert "as a key" in refusal(pack(b"}", key, b"Ns"))


def test_a_list_that_holds_itself_ends_nowhere_but_is_told(pack, refusal):
    assert "holds a list instead" in refusal(pack(b"]q\x00h\x00a"))


def test_a_dict_that_holds_itself_is_told(pack, refusal, handmade):
    itself = b"}q\x00" + handmade.text("state_dict") + b"h\x00s"
    assert "but 'state_dict'" in refusal(pack(itself))


def test_what_is_shared_over_and_over_is_not_multiplied(pack, refusal):
    """2**200 lists if one walked through them."""
    doubled = b"]q\x00" + b"".join(
        b"]q" + bytes([i]) + b"(h" + bytes([i - 1]) + b"h" + bytes([i - 1]) + b"e"
        for i in range(1, 200)
    )
    assert "instead of a state dict" in refusal(pack(doubled))


BOMBS = {
    "dicts": lambda made: b"(" + b"}" * 2_000_000 + b"t",
    "memo": lambda made: b"".join(b"}r" + struct.pack("<I", i) for i in range(600_000)),
    "integers": lambda made: b"(" + (b"\x8a\xff" + b"\x7f" * 255) * 300_000 + b"t",
    "wide characters": lambda made: b"(" + made.text("\U0001f5ff" + "x" * 60_000) * 1200 + b"t",
    "short texts": lambda made: b"(" + made.text("\U0001f5ff") * 990_000 + b"t",
    "marks": lambda made: b"(" * 2_000_000,
    "strings": lambda made: b"(" + b"C\x01x" * 2_000_000 + b"t",
    "copied items": lambda made: (
        b"(" + made.name("collections", "OrderedDict") + b"q\x00(]q\x01("
        + b"".join(b"J" + struct.pack("<i", i) + b"N\x86" for i in range(100_000))
        + b"e" + b"tq\x02R" + b"h\x00h\x02R" * 100_000 + b"t"
    ),
    "tensors": lambda made: (
        b"}(" + made.text("a") + made.tensor(made.storage("0"), 0, (1,) * 32, (1,) * 32) + b"q\x09"
        + b"".join(made.text(str(i)) + b"h\x09" for i in range(60_000)) + b"u"
    ),
    "one long text": lambda made: made.text("\U0001f5ff" * 8_000_000),
}  # fmt: skip
QUICK = [("zip", "memo"), ("paddle", "one long text")]


@pytest.mark.parametrize(
    ("format", "bomb"),
    [
        # both formats' pickles are read by the same machine
        *QUICK,
        *(pytest.param("zip", bomb, marks=pytest.mark.slow) for bomb in BOMBS if bomb != "memo"),
    ],
)
def test_memory_stays_within_the_bound(read_within, handmade, tmp_path, bomb, format):
    value = BOMBS[bomb](handmade)
    path = tmp_path / "bomb"
    path.write_bytes(handmade.torch_zip(value) if format == "zip" else handmade.program(value))
    assert re.search(r"^read 60001$|bomb (has|holds|asks|ends)", read_within(path))


def test_a_pickle_has_a_bounded_number_of_instructions(pack, refusal):
    assert "more instructions than any" in refusal(pack(b"(", b"N" * 2_000_000, b"t"))


def test_a_zip_directory_of_millions_of_entries_is_not_taken_apart(read_within, handmade, tmp_path):
    sound = handmade.torch_zip(handmade.mapping({}))
    first = sound.index(b"PK\x01\x02")
    count = 300_000
    entry = struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, *[0] * 6) + b"a"
    end = struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, 65535, 65535, count * len(entry), first, 0)
    path = tmp_path / "bomb"
    path.write_bytes(sound[:first] + entry * count + end)
    assert "zip directory of" in read_within(path)


def test_a_zip_bomb_is_refused_before_it_is_inflated(refusal, handmade):
    value = handmade.mapping({"x": handmade.tensor(handmade.storage("0", count=2**24))})
    data = handmade.torch_zip(value, {"0": bytes(2**26)}, method=zipfile.ZIP_DEFLATED)
    assert "compressed" in refusal(data)


# What would reach outside, or say two things at once


@pytest.mark.parametrize(
    "member", ["archive/../data/0", "/etc/passwd", "../x", "C:/x", "archive\\data", "a//b", "a/"]
)
def test_unsafe_names_in_a_zip_are_refused(refusal, handmade, member, value):
    assert "unsafe name" in refusal(handmade.torch_zip(value, entries={member: b""}))


def test_a_storage_key_is_no_path(refusal, handmade):
    value = handmade.mapping({"x": handmade.tensor(handmade.storage("../data.pkl"))})
    assert "no entry 'archive/data/../data.pkl'" in refusal(handmade.torch_zip(value))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused(refusal, handmade, value):
    data = handmade.torch_zip(value, entries={"archive/data/1": b""})
    assert "two entries named" in refusal(data.replace(b"archive/data/1", b"archive/data/0"))


@pytest.mark.parametrize("member", ["archive/DATA.PKL", "Archive/data/0"])
def test_entries_that_pytorch_takes_for_one_are_refused(refusal, handmade, member, value):
    """It does not tell capital letters from small ones."""
    assert "two entries named" in refusal(handmade.torch_zip(value, entries={member: b""}))


def test_archives_one_behind_the_other_are_refused(refusal, handmade, value):
    """PyTorch reads the first of two, zipfile the last."""
    assert "does not begin with an entry" in refusal(handmade.torch_zip(value) * 2)


def test_two_pickles_in_a_zip_are_refused(refusal, handmade):
    assert "2 files data.pkl" in refusal(handmade.torch_zip(b"}", entries={"other/data.pkl": b""}))


def test_entries_inside_others_are_refused(read, refusal, handmade):
    """Two names for the same bytes, with a header of its own for the inner one."""
    value = handmade.mapping({"x": handmade.tensor(handmade.storage("1"))})
    block = handmade.FLOATS.tobytes()
    whole = handmade.torch_zip(value, {"1": block})
    start = whole.index(b"archive/data/1") - 30
    inner = whole[start : start + 30 + len(b"archive/data/1") + len(block)]
    data = bytearray(handmade.torch_zip(value, {"0": inner, "1": block}))
    assert list(read(data)) == ["x"]
    listed = data.rindex(b"archive/data/1") - 46
    data[listed + 42 : listed + 46] = struct.pack("<I", data.index(inner))
    assert "'archive/data/1' inside another" in refusal(data)


def test_entries_end_before_the_directory(refusal, handmade):
    """Also where no checksum would tell."""
    tensor = handmade.tensor(handmade.storage("0", count=500), 0, (500,), (1,))
    value = handmade.mapping({"x": tensor})
    data = bytearray(handmade.torch_zip(value))
    unchecked = struct.pack("<3I", 0, 2000, 2000)
    header = data.index(b"archive/data/0") - 30
    listed = data.rindex(b"archive/data/0") - 46
    data[header + 14 : header + 26] = data[listed + 16 : listed + 28] = unchecked
    assert "ends inside the entry 'archive/data/0'" in refusal(data)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        # by their place in the entry's own header and in the directory's
        (({3: 1}, {}), "in two ways"),  # signature
        (({14: 1}, {}), "in two ways"),  # checksum
        (({18: 1}, {}), "in two ways"),  # packed size
        (({22: 1}, {}), "in two ways"),  # size
        (({43: 1}, {}), "in two ways"),  # name
        (({18: 15}, {20: 15}), "in two ways"),  # 23 bytes packed to 24
        (({6: 1}, {8: 1}), "'archive/data/0' encrypted"),
    ],
)
def test_headers_that_disagree_or_say_that_it_is_encrypted(whole_zip, refusal, changes, message):
    data = bytearray(whole_zip)
    headers = data.index(b"archive/data/0") - 30, data.rindex(b"archive/data/0") - 46
    for start, change in zip(headers, changes, strict=True):
        for at, bits in change.items():
            data[start + at] ^= bits
    assert message in refusal(data)


def test_a_wrong_checksum_is_told(whole_zip, refusal, handmade):
    data = whole_zip.replace(handmade.FLOATS.tobytes(), bytes(24))
    assert "wrong checksum in the entry 'archive/data/0'" in refusal(data)


def test_storages_of_the_optimizer_are_not_read(read, handmade):
    """So a checkpoint is as fast to read as the model in it."""
    value = handmade.mapping(
        {
            "optimizer": handmade.mapping({"x": handmade.tensor(handmade.storage("gone"))}),
            "state_dict": handmade.mapping({"x": handmade.tensor(handmade.storage("0"))}),
        }
    )
    assert list(read(handmade.torch_zip(value))) == ["x"]


def test_a_storage_has_one_type(pack_torch, refusal, handmade):
    kinds = "FloatStorage", "IntStorage"
    tensors = {kind: handmade.tensor(handmade.storage("0", kind)) for kind in kinds}
    assert "'0' in two types" in refusal(pack_torch(handmade.mapping(tensors)))


@pytest.mark.parametrize(
    "keys, reason",
    [
        (["0", "0"], "lists '0', which is no storage"),
        (["9"], "lists '9', which is no storage"),
        ([], "lists 0 storages, but its tensors use 1"),
        ([["0"]], "lists a list, which is no storage"),
        ("0", "'0' instead of a list"),
    ],
)
def test_a_stream_lists_each_storage_once(refusal, handmade, keys, reason, value):
    listed = handmade.program(b"](" + handmade.text("0") + b"e")
    data = handmade.torch_stream(value)
    assert data.count(listed) == 1
    assert reason in refusal(data.replace(listed, pickle.dumps(keys, 2)))


def test_a_stream_of_another_protocol_is_refused(refusal, handmade):
    data = handmade.torch_stream(b"}")
    other = data.replace(handmade.number(1001), handmade.number(1002), 1)
    assert "not of protocol 1001" in refusal(other)


@pytest.mark.parametrize("byteorder", [b"big", b"little "])
def test_big_endian_archives_are_refused(refusal, handmade, byteorder):
    data = handmade.torch_zip(b"}", entries={"archive/byteorder": byteorder})
    assert "big-endian" in refusal(data)


def test_big_endian_streams_are_refused(refusal, handmade):
    assert "big-endian" in refusal(handmade.torch_stream(b"}", little=b"\x89"))


# What is no checkpoint


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "begins with b'<!DOCTYPE html><'"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "neither a PyTorch, a Paddle nor a safetensors file"),
        (bytes(257) + b"ustar" + bytes(999), "tar archive"),
        (b"\x80\x02K\x05.", "holds 5 instead of a state dict"),
        (b"\x80\x02}.", "holds no tensors"),
        (b"\x80\x05}.", "pickle protocol 5"),
        (b"PK\x03\x04", "no sound zip archive"),
    ],
)
def test_other_files_are_told_what_they_are(refusal, data, reason):
    assert reason in refusal(data)


def test_a_missing_file_is_an_ordinary_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_state_dict(tmp_path / "none.pt")


def test_folders_and_pipes_are_refused_without_waiting(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (tmp_path, pipe, "/dev/zero"):
        with pytest.raises(CheckpointError, match="no regular file"):
            read_state_dict(path)
