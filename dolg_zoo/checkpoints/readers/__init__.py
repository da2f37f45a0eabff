"""Read checkpoints of other frameworks without the frameworks and without running any code.

.pt, .pth, .pyth and .pdparams files are pickles: programs that may call any function when loaded.
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dolg_zoo._util.files import user_path
from dolg_zoo.errors import CheckpointError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["read_plain", "read_state_dict"]


def read_state_dict(path: str | Path) -> dict[str, np.ndarray]:
    """Read the model's tensors from a checkpoint file.

    The formats are PyTorch's zip archive, PyTorch's stream of pickles (before 1.6), Paddle's
    .pdparams and .safetensors. The file's content decides, not its suffix.

    The state dict is the checkpoint itself or its item `model_state`, `model_state_dict`,
    `state_dict` or `model`; a warning names other state dicts, such as an average of the weights.
    Any other name, such as `student`, becomes a prefix. The prefixes `module.`, `_orig_mod.` and
    `model.` are removed if every name has them; the prefix and the counter of
    `torch.optim.swa_utils.AveragedModel` are removed too.

    Objects beside the state dict, such as settings or an optimizer, may be of any class: they are
    ignored, and their code is not run. The state dict must hold tensors only.

    Besides the memory-mapped file, reading takes at most 2.2 times the file's size plus 256 MiB of
    memory, for any content of the file.

    Args:
        path: a regular file. Do not change it while the arrays are in use: they may be views of
            the file.

    Returns:
        Name to array, in the file's order. The arrays are read-only, and may be strided or not
        aligned. PyTorch's arrays, and Paddle's above protocol 2, are memory-mapped. bfloat16 and
        PyTorch's float8 types are dtypes of ml_dtypes, but Paddle stores bfloat16 as uint16. Copy
        an array to memory with `array.astype("float32")`.

    Raises:
        CheckpointError: if the file has another format, is damaged, or needs foreign code.
        OSError: if the file does not exist or cannot be read.
    """
    from dolg_zoo.checkpoints.readers.faults import FileError

    path = user_path(path)
    try:
        return _read(path, _mapped(path))
    except FileError as fault:
        raise CheckpointError(f"{path} {fault}. {fault.remedy}") from None


def _read(path: Path, file: np.memmap) -> dict[str, np.ndarray]:
    """Choose the reader by the file's first bytes, and read the file."""
    from dolg_zoo.checkpoints.readers import paddle, pytorch, pytorch_zip, safetensors_file
    from dolg_zoo.checkpoints.readers.faults import UnsupportedError

    head = bytes(file[:512])
    if head.startswith(b"PK\x03\x04"):
        return pytorch_zip.read(file, path)
    if safetensors_file.begins(head, len(file)):
        return safetensors_file.read(head, path)
    if pytorch.MAGIC in head[:32]:
        return pytorch.read_stream(file)
    if head[257:262] == b"ustar":
        raise UnsupportedError("is a tar archive, the oldest format of PyTorch")
    if head[0] == 0x80:
        return paddle.read(file)
    raise UnsupportedError(
        f"is neither a PyTorch, a Paddle nor a safetensors file: it begins with {head[:16]!r}"
    )


def read_plain(path: str | Path) -> Any:
    """Read a pickle of plain values, such as the ground truth of a benchmark; nothing is run.

    Args:
        path: a regular file.

    Returns:
        None, a number or a text, or a list, tuple or dict of these. A hostile file can repeat or
        nest one object, so the value may be huge, deep or endless: check it as you walk through it.

    Raises:
        CheckpointError: if the file has another format, is damaged, or needs foreign code.
        OSError: if the file does not exist or cannot be read.
    """
    from dolg_zoo.checkpoints.readers.faults import FileError, UnsupportedError
    from dolg_zoo.checkpoints.readers.restricted_pickle import Bytes, RestrictedUnpickler

    path = user_path(path)
    try:
        file = _mapped(path)
        if file[0] != 0x80:
            raise UnsupportedError(
                f"is no pickle of protocol 2 to 4: it begins with {bytes(file[:8])!r}"
            )
        return RestrictedUnpickler(Bytes(file.data), names={}, states={}).load()
    except FileError as fault:
        raise CheckpointError(
            f"{path} {fault}. Nothing in it was run; download the file again from its publisher."
        ) from None


def _mapped(path: Path) -> np.memmap:
    """Return the bytes of a regular file that is not empty."""
    import numpy as np

    from dolg_zoo.checkpoints.readers.faults import DamagedError

    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise CheckpointError(f"{path} is no regular file. Name the file itself.")
    if status.st_size == 0:
        raise DamagedError("is empty")
    return np.memmap(path, np.uint8, mode="r")
