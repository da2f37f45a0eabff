"""Checkpoint files put together by hand, sound and hostile ones, with no framework installed."""

import io
import json
import pickle
import struct
import zipfile

import numpy as np

MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
STOP = b"."


def text(value):
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def number(value):
    if 0 <= value < 256:
        return b"K" + bytes([value])
    if -(2**31) <= value < 2**31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def row(*parts):
    """A tuple."""
    return b"(" + b"".join(parts) + b"t"


def numbers(values):
    return row(*map(number, values))


def name(module, attribute):
    return f"c{module}\n{attribute}\n".encode()


def call(function, *arguments):
    return function + row(*arguments) + b"R"


def mapping(items):
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def program(*parts):
    """A pickle."""
    return b"\x80\x02" + b"".join(parts) + STOP


def storage(key, kind="FloatStorage", count=6, view=b"", module="torch"):
    parts = text("storage"), name(module, kind), text(key), text("cpu"), number(count), view
    return row(*parts) + b"Q"


def tensor(storage, offset=0, sizes=(2, 3), strides=(3, 1)):
    hooks = call(name("collections", "OrderedDict"))
    rebuild = name("torch._utils", "_rebuild_tensor_v2")
    return call(rebuild, storage, number(offset), numbers(sizes), numbers(strides), b"\x89", hooks)


FLOATS = np.arange(6, dtype="<f4")


def torch_zip(checkpoint, blocks=None, entries=None, method=zipfile.ZIP_STORED):
    """What torch.save writes: `checkpoint` is the pickle's value, `blocks` the storages' bytes."""
    blocks = {"0": FLOATS.tobytes()} if blocks is None else blocks
    members = {"archive/data.pkl": program(checkpoint), "archive/byteorder": b"little"}
    members |= {f"archive/data/{key}": block for key, block in blocks.items()}
    members |= {"archive/version": b"3\n"} | (entries or {})
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for member, data in members.items():
            archive.writestr(zipfile.ZipInfo(member), data, method)
    return file.getvalue()


def torch_stream(checkpoint, blocks=None, little=b"\x88"):
    """What torch.save wrote before 1.6. A block is its count of elements and its bytes."""
    blocks = {"0": (6, FLOATS.tobytes())} if blocks is None else blocks
    parts = [
        MAGIC,
        program(number(1001)),
        program(mapping({"protocol_version": number(1001), "little_endian": little})),
        program(checkpoint),
        program(b"](" + b"".join(map(text, blocks)) + b"e"),
    ]
    for count, data in blocks.values():
        parts.append(struct.pack("<q", count) + data)
    return b"".join(parts)


def paddle(checkpoint, protocol=2):
    """What paddle.save writes for a state dict of arrays."""
    return pickle.dumps(checkpoint, protocol)


def safetensors(header, data):
    encoded = json.dumps(header).encode()
    return struct.pack("<Q", len(encoded)) + encoded + data


def seeds():
    """Small sound files of each format: name to bytes."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(40, 25)).astype("<f4")
    counts = np.arange(300, dtype="<i8")
    whole = mapping(
        {
            "layer.kernel": tensor(storage("0", count=1000), 0, (40, 25), (25, 1)),
            "layer.turned": tensor(storage("0", count=1000), 5, (20, 30), (1, 20)),
            "counts": tensor(storage("1", "LongStorage", 300), 0, (300,), (1,)),
        }
    )
    nested = mapping({"epoch": number(3), "state_dict": whole, "lr": b"G" + struct.pack(">d", 0.1)})
    blocks = {"0": kernel.tobytes(), "1": counts.tobytes()}
    arrays = {"kernel": kernel, "counts": counts, "turned": kernel.T}
    table = {"StructuredToParameterName@@": {"kernel": "linear_0.w_0"}}
    spans = {
        "kernel": {"dtype": "F32", "shape": [40, 25], "data_offsets": [0, 4000]},
        "counts": {"dtype": "I64", "shape": [300], "data_offsets": [4000, 6400]},
    }
    sound = {
        "zip": torch_zip(whole, blocks),
        "nested": torch_zip(nested, blocks),
        "stream": torch_stream(whole, {"0": (1000, blocks["0"]), "1": (300, blocks["1"])}),
        **{f"paddle{p}": paddle(arrays | table, p) for p in (2, 3, 4)},
    }
    sound["safetensors"] = safetensors(spans, kernel.tobytes() + counts.tobytes())
    return sound
