"""Read checkpoints of other frameworks without these frameworks and without running any code.

.pt, .pth, .pyth and .pdparams files are pickles: programs that may call anything when loaded.
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

    Read are PyTorch's two formats (zip, and the stream of pickles before 1.6), Paddle's .pdparams
    and .safetensors. The content tells which, not the suffix.

    The state dict is found under `model_state`, `model_state_dict`, `state_dict` or `model` too; if
    there are others beside it, such as an average of the weights, a warning in the log names them.
    The prefixes `module.`, `_orig_mod.` and `model.` are dropped where every name has them, and so
    is what `torch.optim.swa_utils.AveragedModel` adds. Under another name, such as `student`, it is
    found too, and that name becomes a prefix.

    What lies beside the state dict, such as settings or an optimizer, may be of any class: it is
    passed over, and nothing of it is run. Inside, only tensors are taken.

    Beside the mapped file, reading takes no more memory than 2.2 times the file's size and 256 MiB,
    whatever the file holds.

    Args:
        path: a regular file. Leave it as it is while the arrays are in use: they may be views of
            it.

    Returns:
        Name to array, in the file's order. The arrays are read-only, and may be strided or not
        aligned. PyTorch's, and Paddle's above protocol 2, are mapped from the file. bfloat16 and
        PyTorch's float8 kinds are dtypes of ml_dtypes, but Paddle keeps bfloat16 as uint16.
        `array.astype("float32")` copies one into memory of its own.

    Raises:
        CheckpointError: it is no such file, is damaged, or could only be read by running it.
        OSError: there is no file of that name, or it may not be read.
    """
    from dolg_zoo.checkpoints.readers.faults import FileError
    from dolg_zoo.checkpoints.readers.formats import read

    path = user_path(path)
    _check_regular(path)
    try:
        return read(path)
    except FileError as fault:
        raise CheckpointError(f"{path} {fault}. {fault.remedy}") from None


def read_plain(path: str | Path) -> Any:
    """Read a pickle of plain values, such as the ground truth of a benchmark; nothing is run.

    Args:
        path: a regular file.

    Returns:
        None, numbers and texts, and lists, tuples and dicts of these. What the file made large,
        deep or endless by sharing is so still: check before walking through it.

    Raises:
        CheckpointError: it is no such file, is damaged, or could only be read by running it.
        OSError: there is no file of that name, or it may not be read.
    """
    import numpy as np

    from dolg_zoo.checkpoints.readers.faults import DamagedError, FileError, UnsupportedError
    from dolg_zoo.checkpoints.readers.restricted_pickle import Bytes, RestrictedUnpickler

    path = user_path(path)
    _check_regular(path)
    try:
        if path.stat().st_size == 0:
            raise DamagedError("is empty")
        file = np.memmap(path, np.uint8, mode="r")
        if file[0] != 0x80:
            raise UnsupportedError(
                f"is no pickle of protocol 2 to 4: it begins with {bytes(file[:8])!r}"
            )
        return RestrictedUnpickler(Bytes(file.data), names={}, states={}).load()
    except FileError as fault:
        raise CheckpointError(
            f"{path} {fault}. Nothing in it was run; fetch the file again from where it is"
            " published."
        ) from None


def _check_regular(path: Path) -> None:
    if not stat.S_ISREG(path.stat().st_mode):
        raise CheckpointError(f"{path} is no regular file. Name the file itself.")
