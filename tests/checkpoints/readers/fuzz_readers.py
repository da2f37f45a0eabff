"""Feeds damaged and doctored checkpoint files to the readers, which must refuse or read them.

Usage: fuzz_readers.py [--files N] [--seed S] [--only INDEX]

The files come from sound ones of every format, and depend on the seed and on their index alone. A
fault is any exception but CheckpointError (one of memory too, since the process may grow by no more
than the readers promise), a file that takes longer than five seconds, and a crash.
"""

import argparse
import faulthandler
import runpy
import signal
import struct
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path

import numpy as np

from dolg_zoo.weights import CheckpointError, read_state_dict

HERE = Path(__file__).parent
HANDMADE = runpy.run_path(str(HERE / "handmade.py"))
LIMIT_MEMORY = runpy.run_path(str(HERE / "read_within.py"))["limit_memory"]
OPCODES = [
    *(b"(", b")", b"]", b"}", b"N", b"R", b"b", b"Q", b"t", b"a", b"e", b"s", b"u", b".", b"0"),
    *(b"\x85", b"\x86", b"\x87", b"\x88", b"\x94", b"\x93", b"\x81", b"2", b"h\x00", b"h\x03"),
    *(b"j\xff\xff\xff\x7f", b"q\x05", b"K\x07", b"J\xff\xff\xff\xff", b"X\x01\0\0\0a", b"C\x02ab"),
    *(b"\x8e" + bytes(7) + b"\x10", b"\x8d" + bytes(6) + b"\x01\0", b"cos\nsystem\n"),
    *(b"ctorch\nFloatStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"cnumpy\ndtype\n"),
    *(b"c_codecs\nencode\n", b"ccollections\nOrderedDict\n", b"\x80\x04", b"\x95" + bytes(8)),
]
NUMBERS = [0, 1, 2, 255, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**60, 2**63, 2**64 - 1]
SECONDS = 5  # that one file may take


def doctored(seeds, seed, index):
    """Return the format and the bytes of one file of the series."""
    rng = np.random.default_rng((seed, index))
    kind = list(seeds)[index % len(seeds)]
    if kind in PICKLED and rng.random() < 0.5:
        # inside the pickle, with the container made anew around it: no checksum stands in the way
        pack, program = PICKLED[kind]
        program = bytearray(program)
        mutate(rng, program, seeds)
        return kind, pack(bytes(program))
    data = bytearray(seeds[kind])
    mutate(rng, data, seeds)
    return kind, bytes(data)


def mutate(rng, data, seeds):
    """Change a file in one to three ways, each of which may make it shorter or longer."""
    for _ in range(rng.integers(1, 4)):
        if not data:
            return
        at, size = rng.integers(len(data)), rng.integers(1, 64)
        other = list(seeds.values())[rng.integers(len(seeds))]
        start = rng.integers(len(other))
        opcodes = b"".join(OPCODES[i] for i in rng.integers(len(OPCODES), size=rng.integers(1, 5)))
        match rng.integers(9):
            case 0:
                data[at] ^= 1 << rng.integers(8)
            case 1:
                data[at : at + rng.integers(1, 9)] = rng.bytes(rng.integers(1, 9))
            case 2:
                del data[at:]
            case 3:
                del data[at : at + size]
            case 4:  # a part of it twice
                data[at:at] = data[start : start + 3 * size]
            case 5:  # a part of another file
                data[at : at + size] = other[start : start + 6 * size]
            case 6:
                data[at:at] = opcodes
            case 7:
                data[at : at + len(opcodes)] = opcodes
            case 8:  # what may be a size or a count
                layout = ["<H", "<I", "<Q"][rng.integers(3)]
                bytes_of_it = struct.calcsize(layout)
                value = NUMBERS[rng.integers(len(NUMBERS))] % (1 << 8 * bytes_of_it)
                data[at : at + bytes_of_it] = struct.pack(layout, value)


def zip_parts():
    """The pickles of the zip files, and what puts each back into its archive."""
    import io
    import zipfile

    parts = {}
    for kind in ("zip", "nested"):
        archive = zipfile.ZipFile(io.BytesIO(HANDMADE["seeds"]()[kind]))
        blocks = {key: archive.read(f"archive/data/{key}") for key in ("0", "1")}

        def pack(program, blocks=blocks):
            # the value between the protocol and the last byte; `torch_zip` puts both around it
            return HANDMADE["torch_zip"](program[2:-1], blocks)

        parts[kind] = pack, archive.read("archive/data.pkl")
    return parts


PICKLED = zip_parts()


def too_slow(*_):
    raise TimeoutError("the file took longer than it may")


def outcome_of(path):
    """Return how the readers take a file, and the traceback if that is a fault."""
    try:
        for array in read_state_dict(path).values():
            array.tobytes()  # every byte of it can be read
    except CheckpointError as error:
        str(error).encode()
        return "refused", ""
    except Exception:
        return "faults", traceback.format_exc()
    return "read", ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=20_000, help="how many files to try")
    parser.add_argument("--seed", type=int, default=0, help="start of the series")
    parser.add_argument("--only", type=int, help="try the file of this index alone")
    arguments = parser.parse_args()

    faulthandler.enable()
    signal.signal(signal.SIGALRM, too_slow)
    seeds = HANDMADE["seeds"]()
    LIMIT_MEMORY(max(map(len, seeds.values())))
    counts = Counter()
    indices = range(arguments.files) if arguments.only is None else [arguments.only]
    with tempfile.TemporaryDirectory() as folder:
        for index in indices:
            kind, data = doctored(seeds, arguments.seed, index)
            # a name of its own: arrays of the file before may still be mapped
            path = Path(folder, f"{arguments.seed}-{index}")
            path.write_bytes(data)
            signal.alarm(SECONDS)
            outcome, fault = outcome_of(path)
            signal.alarm(0)
            path.unlink()
            counts[outcome] += 1
            if fault:
                print(f"--seed {arguments.seed} --only {index} ({kind}):\n{fault}")
    print(f"{counts.total()} files: {dict(counts)}")
    return bool(counts["faults"])


if __name__ == "__main__":
    sys.exit(main())
