"""Read pickles as data, with the standard library's unpickler.

A pickle is a program that may import and call anything. This unpickler knows only instructions that
build plain values. It never imports a global but looks it up in the reader's table, and a call
reaches functions of the reader only. It is the unpickler in Python: the C unpickler crashes on a
deep tuple as a dict's key, and does not limit memory.
"""

from __future__ import annotations

import pickle
import pickletools
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dolg_zoo.checkpoints.readers.faults import (
    DamagedError,
    FileError,
    RefusedError,
    UnsupportedError,
    shown,
)

# Limits of memory and time for a hostile file. A ResNet-101 takes 20,000 instructions.
MAX_READS = 2_000_000  # one or two per instruction
_MAX_ARGUMENTS = 8
_MAX_LINE = 1 << 10

_Unpickler: Any = pickle._Unpickler


@dataclass(slots=True)
class Payload:
    """A byte string, left in the file at `start`."""

    start: int
    size: int


@dataclass(slots=True)
class Opaque:
    """A placeholder for an unknown global and every object that the file makes with it."""

    # Allowed beside a state dict, not in it: see `tensors_in`.

    name: str

    def __setitem__(self, key: object, value: object) -> None:
        """Ignore an item."""

    def append(self, value: object) -> None:
        """Ignore an item."""

    extend = append


class Call:
    """The substitute for a function: a function of the reader, called with all arguments."""

    def __init__(self, function: Callable[[tuple[Any, ...]], Any]) -> None:
        self.function = function


class Dict(dict[Any, Any]):
    """A dict that accepts only keys that are cheap to hash and to compare."""

    __slots__ = ()

    def __setitem__(self, key: object, value: object) -> None:
        """Set an item; the key is a text, None or a small integer, since giant ones may collide."""
        is_small = isinstance(key, int) and -(2**63) <= key < 2**64
        if not (isinstance(key, str) or key is None or is_small):
            raise UnsupportedError(f"has a dict with {shown(key)} as a key")
        super().__setitem__(key, value)


class Bytes:
    """A part of a file, with the methods that the unpickler reads with."""

    def __init__(self, data: memoryview, start: int = 0, stop: int | None = None) -> None:
        self.data, self.position = data, start
        self.stop = len(data) if stop is None else stop
        self.reads_left = MAX_READS

    def skip(self, size: int) -> int:
        """Skip some bytes and return their position."""
        start = self.position
        if not 0 <= size <= self.stop - start:
            raise DamagedError(
                f"ends early: {size} bytes are promised at {start}, {self.stop - start} are left"
            )
        self.position = start + size
        return start

    def read(self, size: int) -> bytes:
        """Return the next bytes."""
        self.reads_left -= 1
        if self.reads_left < 0:
            raise DamagedError("has pickles of more instructions than any checkpoint")
        start = self.skip(size)
        return bytes(self.data[start : start + size])

    def readline(self) -> bytes:
        """Return the next line with its line end."""
        size = bytes(self.data[self.position : self.stop][:_MAX_LINE]).find(b"\n") + 1
        if not size:
            raise DamagedError(f"has a name without an end at {self.position}")
        return self.read(size)


class RestrictedUnpickler(_Unpickler):
    """Read consecutive pickles of a file."""

    # `names`: (module, name) to the substitute for a global. `states`: type to the function that
    # sets the state of its objects. With `may_be_opaque`, unknown globals become `Opaque`;
    # otherwise they raise RefusedError.

    def __init__(
        self,
        file: Bytes,
        names: Mapping[tuple[str, str], Any],
        states: Mapping[type, Callable[[Any, Any], None]],
        persistent: Callable[[Any], Any] | None = None,
        may_be_opaque: bool = False,
    ) -> None:
        super().__init__(file)
        self.file, self.names, self.states = file, names, states
        self.persistent, self.may_be_opaque = persistent, may_be_opaque

    def load(self) -> Any:
        """Read one pickle and return its value; the next call reads the next pickle."""
        self.memo: dict[int, Any] = {}
        try:
            return super().load()
        except (FileError, MemoryError):
            raise
        except Exception as error:  # an invalid pickle raises errors of any type
            reason = f"{type(error).__name__}: {shown(str(error))}"
            raise DamagedError(f"has a pickle that makes no sense ({reason})") from None

    def find_class(self, module: str, name: str) -> Any:
        """Return the substitute for a global."""
        value = self.names.get((module, name))
        if isinstance(value, UnsupportedError):
            raise value
        if value is None:
            value = Opaque(f"{module}.{name}")
            if not self.may_be_opaque:
                raise asks_for(value)
        return value

    def persistent_load(self, saved_id: Any) -> Any:
        """Return the substitute for data outside the pickle."""
        if self.persistent is None:
            raise RefusedError("asks for data outside of it by a persistent id")
        return self.persistent(saved_id)

    def _protocol(self) -> None:
        [protocol] = self.read(1)
        if protocol > 4:
            raise UnsupportedError(f"is of pickle protocol {protocol}; 2, 3 and 4 are read")

    def _payload(self, layout: str) -> None:
        [size] = struct.unpack(layout, self.read(struct.calcsize(layout)))
        self.append(Payload(self.file.skip(size), size))

    def _reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if isinstance(function, Opaque):
            self.append(function)
            return
        if not isinstance(function, Call) or not isinstance(arguments, tuple):
            raise RefusedError(f"asks to call {shown(function)} with {shown(arguments)}")
        if len(arguments) > _MAX_ARGUMENTS:  # a small file can repeat an argument without limit
            raise DamagedError(f"has a call with {len(arguments)} arguments")
        self.append(function.function(arguments))

    def _new_object(self, arguments: int) -> None:
        """Replace the new object by its opaque class; raise for any other class."""
        kind = self.stack[-1 - arguments]
        if not isinstance(kind, Opaque):
            raise unknown(ord("\x81" if arguments == 1 else "\x92"))
        del self.stack[-arguments:]

    def _build(self) -> None:
        state, value = self.stack.pop(), self.stack[-1]
        if isinstance(value, Opaque):
            return
        if type(value) not in self.states:
            raise RefusedError(f"asks to set the inner state of {shown(value)}")
        self.states[type(value)](value, state)


def asks_for(value: Opaque) -> RefusedError:
    """Return the error for a value that only foreign code could compute."""
    return RefusedError(f"asks for {shown(value.name)}, which plain data do not need")


def unknown(code: int) -> FileError:
    """Return the error for an unsupported instruction."""
    instruction = pickletools.code2op.get(chr(code))  # type: ignore[attr-defined]
    if instruction is None:
        return DamagedError(f"has the byte {code:#04x} where its pickle should have an instruction")
    return RefusedError(
        f"uses the pickle instruction {instruction.name}, which plain data do not need"
    )


def ordered_dict(arguments: tuple[Any, ...]) -> Dict:
    """Return the substitute for a call of collections.OrderedDict; its items are set afterwards."""
    if arguments:
        raise DamagedError("has an OrderedDict written in a way that Python 3 does not use")
    return Dict()


class _Instructions(dict[Any, Any]):
    def __missing__(self, code: int) -> Any:
        raise unknown(code)


def _instructions() -> _Instructions:
    standard_names = """
        NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT SHORT_BINSTRING BINSTRING
        SHORT_BINUNICODE BINUNICODE
        BINUNICODE8 EMPTY_TUPLE TUPLE1 TUPLE2 TUPLE3 TUPLE EMPTY_LIST APPEND APPENDS SETITEM
        SETITEMS MARK BINGET LONG_BINGET BINPUT LONG_BINPUT MEMOIZE GLOBAL STACK_GLOBAL BINPERSID
        STOP
    """
    codes = {info.name: ord(info.code) for info in pickletools.opcodes}
    own_instructions: dict[str, Callable[[Any], None]] = {
        "PROTO": RestrictedUnpickler._protocol,
        "FRAME": lambda unpickler: unpickler.read(8) and None,  # only a size for reading ahead
        "SHORT_BINBYTES": lambda unpickler: unpickler._payload("B"),
        "BINBYTES": lambda unpickler: unpickler._payload("<I"),
        "BINBYTES8": lambda unpickler: unpickler._payload("<Q"),
        "EMPTY_DICT": lambda unpickler: unpickler.append(Dict()),
        # A list stands for a set: nothing tests membership, and a list hashes no items.
        "EMPTY_SET": _Unpickler.load_empty_list,
        "ADDITEMS": _Unpickler.load_appends,
        "REDUCE": RestrictedUnpickler._reduce,
        "NEWOBJ": lambda unpickler: unpickler._new_object(1),
        "NEWOBJ_EX": lambda unpickler: unpickler._new_object(2),
        "BUILD": RestrictedUnpickler._build,
    }
    standard = {codes[name]: _Unpickler.dispatch[codes[name]] for name in standard_names.split()}
    return _Instructions(
        {**standard, **{codes[name]: function for name, function in own_instructions.items()}}
    )


RestrictedUnpickler.dispatch = _instructions()
