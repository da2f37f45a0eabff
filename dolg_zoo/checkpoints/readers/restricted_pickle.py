"""Pickles read as data.

A pickle is a program for a small stack machine, and its instructions may import and call anything.
This machine knows only those that build plain values. A global is not imported but looked up in a
table that the file format's reader brings, and a call is one of that reader's own functions.

The arguments are not taken apart with `pickletools.genops`: that copies every argument, and turns
text into strings of up to four times its size, before anyone can see how large it is. Here large
strings stay in the file, as a `Payload` that says where.
"""

from __future__ import annotations

from typing import Any

from dolg_zoo.checkpoints.readers.faults import DamagedError
from dolg_zoo.checkpoints.readers.pickle_instructions import INSTRUCTIONS, STOP, unknown
from dolg_zoo.checkpoints.readers.pickle_machine import Machine

# With `MAX_TEXT` of the machine this keeps the values of a hostile file below 256 MiB: an
# instruction makes at most a small object, and a character at most four bytes. A ResNet-101 takes
# 20,000 instructions.
MAX_INSTRUCTIONS = 1_000_000


class RestrictedUnpickler(Machine):
    """Runs pickles that follow one another in `data`, within one allowance for all."""

    instructions_left = MAX_INSTRUCTIONS

    def load(self) -> Any:
        """Run one pickle and return its value. `position` is then behind it."""
        self.stack, self.marks, self.memo = [], [], {}
        while True:
            self.instructions_left -= 1
            if self.instructions_left < 0:
                raise DamagedError(f"has pickles of more than {MAX_INSTRUCTIONS:,} instructions")
            code = self.data[self.skip(1)]
            if code == STOP:
                break
            if code not in INSTRUCTIONS:
                raise unknown(code)
            layout, action = INSTRUCTIONS[code]
            action(self, *self.unpack(layout))
        value = self.pop()
        self.stack, self.marks, self.memo = [], [], {}
        return value
