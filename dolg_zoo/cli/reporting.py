"""Messages and exit statuses of all commands."""

from __future__ import annotations

import functools
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from dolg_zoo._util.files import user_path
from dolg_zoo._util.imports import import_fault
from dolg_zoo.cli.groups import with_groups

if TYPE_CHECKING:
    from dolg_zoo.preprocessing import PassedOver

DEBUG_VARIABLE = "DOLG_DEBUG"
ERROR, SKIPPED, INTERRUPTED = 1, 3, 130


def reporting_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Expand a command's groups of options, and print an error as one message, not a traceback."""
    command = with_groups(command)

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **{name: _expanded(value) for name, value in kwargs.items()})
        except (typer.Exit, typer.Abort, typer.BadParameter, BrokenPipeError):
            raise
        except KeyboardInterrupt as interrupt:
            note(f"Interrupted. {interrupt}".rstrip())
            raise typer.Exit(INTERRUPTED) from None
        except Exception as error:
            if is_debugging():
                raise
            note(f"dolg: {in_words(error)}")
            raise typer.Exit(ERROR) from None

    return run


def _expanded(value: Any) -> Any:
    # a shell does not expand the ~ of --out=~/photos
    if isinstance(value, list):
        return [_expanded(each) for each in value]
    if isinstance(value, Path):
        # Typer would turn an empty text into the current folder
        is_empty = str(value) == "." and "" in sys.argv[1:] and "." not in sys.argv[1:]
        return user_path("" if is_empty else value)
    return value


def is_debugging() -> bool:
    """Return whether errors are shown in full."""
    return os.environ.get(DEBUG_VARIABLE, "") not in ("", "0")


def note(message: str) -> None:
    """Print to standard error, with control characters escaped."""
    from dolg_zoo._util.text import printable

    for line in message.split("\n"):
        print(printable(line), file=sys.stderr)


def print_json(document: object, file: TextIO | None = None) -> None:
    """Print one JSON document in ASCII; raise ValueError if it contains NaN or infinity."""
    # ASCII, because names may contain undecodable bytes
    print(json.dumps(document, indent=2, allow_nan=False), file=file)


def finish(skipped: Mapping[str, str], strict: bool, passed_over: PassedOver | None = None) -> None:
    """Report ignored files and unreadable images; exit with status 3 if `strict`."""
    if passed_over:
        note(str(passed_over))
    if not skipped:
        return
    note(f"{len(skipped)} could not be read:")
    for name, reason in skipped.items():
        note(f"  {name!r}: {reason}")
    if strict:
        raise typer.Exit(SKIPPED)


def fail_if(failed: int, total: int, what: str) -> None:
    """Exit with status 1 and one line if any item failed."""
    if failed:
        note(f"dolg: {failed} of {total} {what}.")
        raise typer.Exit(ERROR)


def left_out(skipped: Mapping[str, str], passed_over: PassedOver | None = None) -> dict[str, Any]:
    """Return the unreadable images and the ignored files, for JSON."""
    listed = [{"name": name, "reason": reason} for name, reason in skipped.items()]
    return {
        "skipped": listed,
        **({} if passed_over is None else {"passed_over": passed_over.to_dict()}),
    }


def in_words(error: Exception) -> str:
    """Return the text of an error for a user."""
    error = import_fault(error) or error
    if isinstance(error, (OSError, ValueError, MemoryError)) or _is_ours(error):
        return str(error) or type(error).__name__
    return (
        f"unexpected {type(error).__name__}: {error}. `dolg --debug …` shows where it comes from."
    )


def _is_ours(error: Exception) -> bool:
    return type(error).__module__.startswith("dolg_zoo.")


def leave_stdout_to(path: Path) -> None:
    """Print to standard error from now on if the output is a pipe, usually standard output."""
    from dolg_zoo._util.files import is_special

    if is_special(path):
        sys.stdout = sys.stderr


def check_picture(path: Path | None, inputs: Iterable[object] = ()) -> None:
    """Check the path of a picture, if any; see `leave_stdout_to`."""
    if path is not None:
        from dolg_zoo.drawing import style

        style.check_picture(path, inputs)
        leave_stdout_to(path)


def shown(path: Path | str) -> str:
    """Return a printable form of a path."""
    from dolg_zoo._util.text import printable

    return printable(str(path))
