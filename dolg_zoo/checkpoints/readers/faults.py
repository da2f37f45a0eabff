"""The errors of the readers; `read_state_dict` puts the file's name before the message."""

from __future__ import annotations


class FileError(Exception):
    """Base of the readers' errors. The message is a predicate that follows the file's name."""

    remedy: str


class DamagedError(FileError):
    """The file breaks the rules of its format."""

    remedy = "The file is damaged or was changed after it was written: fetch or save it again."


class UnsupportedError(FileError):
    """The file seems sound, but has values that the readers do not support."""

    remedy = (
        "Load it with the framework that wrote it and save the plain state dict alone, for "
        "instance torch.save(model.state_dict(), 'plain.pt'), or save it as .safetensors."
    )


class RefusedError(FileError):
    """The file needs code that it names, and no such code is run."""

    remedy = (
        "Nothing was run. If you trust the file, load it with its own framework on a machine where "
        "that is safe, and save its state dict alone: for PyTorch, for instance, "
        "torch.save(torch.load(FILE, weights_only=False)['state_dict'], 'plain.pt')."
    )


def shown(value: object) -> str:
    """Return a short, printable form of a value of the file."""
    # Only the type of a container is shown: it may be deep, endless or contain itself.
    if isinstance(value, str):
        return ascii(value if len(value) <= 80 else value[:77] + "...")
    if value is None or isinstance(value, (bool, float)):
        return repr(value)
    if isinstance(value, int):
        return str(value) if value.bit_length() <= 128 else "a giant integer"
    return "a dict" if isinstance(value, dict) else f"a {type(value).__name__}"
