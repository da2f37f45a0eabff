"""Choose a file's reader by its first bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dolg_zoo.checkpoints.readers import paddle, pytorch_stream, pytorch_zip, safetensors_file
from dolg_zoo.checkpoints.readers.faults import DamagedError, UnsupportedError


def read(path: Path) -> dict[str, np.ndarray]:
    """Read the state dict of a regular file."""
    if path.stat().st_size == 0:
        raise DamagedError("is empty")
    file = np.memmap(path, np.uint8, mode="r")
    head = bytes(file[:512])
    if head.startswith(b"PK\x03\x04"):
        return pytorch_zip.read(file, path)
    if safetensors_file.begins(head, len(file)):
        return safetensors_file.read(head, path)
    if pytorch_stream.MAGIC in head[:32]:
        return pytorch_stream.read(file)
    if head[257:262] == b"ustar":
        raise UnsupportedError("is a tar archive, the oldest format of PyTorch")
    if head[0] == 0x80:
        return paddle.read(file)
    raise UnsupportedError(
        f"is neither a PyTorch, a Paddle nor a safetensors file: it begins with {head[:16]!r}"
    )
