"""Reads a file in no more address space than the readers promise, and prints what came of it.

Usage: read_within.py FILE. The bound, above what the interpreter and its libraries take, is 2.2
times the file's size and 256 MiB; the mapped file itself counts too.
"""

import contextlib
import importlib
import resource
import sys
from pathlib import Path

from dolg_zoo.weights import CheckpointError, read_state_dict


def limit_memory(size):
    """Let this process grow by as much as a file of `size` bytes may cost."""
    for library in ("ml_dtypes", "safetensors.numpy", "dolg_zoo.checkpoints.readers.pytorch_zip"):
        with contextlib.suppress(ImportError):
            importlib.import_module(library)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    bound = pages * resource.getpagesize() + int(2.2 * size) + (256 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (bound, bound))


if __name__ == "__main__":
    path = Path(sys.argv[1])
    limit_memory(path.stat().st_size)
    try:
        print(f"read {len(read_state_dict(path))}")
    except CheckpointError as error:
        print(error)
