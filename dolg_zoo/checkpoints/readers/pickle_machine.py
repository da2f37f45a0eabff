"""The stack machine that pickles are programs for: its stack, and the bytes that it reads."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

from dolg_zoo.checkpoints.readers.faults import DamagedError, shown

# The most bytes of text that the pickles of a file may hold together.
MAX_TEXT = 16 << 20

_LONGEST_LINE = 1 << 10


class Machine:
    """The state of a run; `RestrictedUnpickler` has the instructions.

    Args:
        data: the bytes of the file.
        start, stop: the part of it that holds pickles.
        names: (module, name) to what stands for that global.
        states: type to the function that sets the state of a value from the file.
        persistent: the function from a persistent id to a value.
        may_be_opaque: whether a global that is not in `names` becomes a value that nothing can be
            done with; otherwise it is refused.
    """

    def __init__(
        self,
        data: memoryview,
        start: int,
        stop: int,
        names: Mapping[tuple[str, str], Any],
        states: Mapping[type, Callable[[Any, Any], None]],
        persistent: Callable[[Any], Any] | None = None,
        may_be_opaque: bool = False,
    ):
        self.data = data
        self.position = start
        self.stop = stop
        self.names = names
        self.states = states
        self.persistent = persistent
        self.may_be_opaque = may_be_opaque
        self.text_left = MAX_TEXT
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    # reading

    def skip(self, size: int) -> int:
        """Step over some bytes and return where they start."""
        start = self.position
        if size < 0 or size > self.stop - start:
            raise DamagedError(
                f"ends early: {size} bytes are promised at {start}, {self.stop - start} left"
            )
        self.position = start + size
        return start

    def unpack(self, layout: struct.Struct) -> tuple:
        """Take a few numbers from the file."""
        return layout.unpack_from(self.data, self.skip(layout.size))

    def text(self, size: int, encoding: str) -> str:
        """Take a text of `size` bytes from the file."""
        self.text_left -= size
        if self.text_left < 0:
            raise DamagedError(
                f"has more than {MAX_TEXT >> 20} MiB of names and other text in its pickle"
            )
        start = self.skip(size)
        try:
            return str(self.data[start : start + size], encoding)
        except UnicodeDecodeError:
            raise DamagedError(f"has a text that is not {encoding.upper()} at {start}") from None

    def line(self) -> str:
        """Take a line from the file."""
        start = self.position
        stop = min(self.stop, start + _LONGEST_LINE)
        length = bytes(self.data[start:stop]).find(b"\n")
        if length < 0:
            raise DamagedError(f"has a name without an end at {start}")
        line = self.text(length, "utf-8")
        self.skip(1)
        return line

    # the stack

    def push(self, value: object) -> None:
        """Put a value on the stack."""
        self.stack.append(value)

    def pop(self) -> Any:
        """Take the last value from the stack, if it was put there since the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise DamagedError(
                f"has a pickle that takes a value where there is none, at {self.position}"
            )
        return self.stack.pop()

    def pop_to_mark(self) -> list:
        """Take the values since the last mark from the stack, and the mark."""
        if not self.marks:
            raise DamagedError(f"has a pickle that goes back to no mark, at {self.position}")
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def top(self, kind: type) -> Any:
        """Return the last value, which must be of a kind, and leave it there."""
        value = self.pop()
        self.push(value)
        if not isinstance(value, kind):
            raise DamagedError(f"has {shown(value)} where a {kind.__name__} is to be filled")
        return value
