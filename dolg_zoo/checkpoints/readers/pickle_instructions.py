"""What the instructions of a pickle do, as far as they are known here."""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from dolg_zoo.checkpoints.readers.faults import (
    DamagedError,
    FileError,
    RefusedError,
    UnsupportedError,
    shown,
)
from dolg_zoo.checkpoints.readers.pickle_machine import Machine

# Longer strings are tensor data, never names.
_LONGEST_TEXT = 64 << 10

# A function that takes its arguments apart may be called with the same ones any number of times.
_MOST_ARGUMENTS = 8


@dataclass(slots=True)
class Payload:
    """A byte string, or a long text in UTF-8, left in the file at `start`."""

    start: int
    size: int
    is_text: bool


@dataclass(slots=True)
class Opaque:
    """What an unknown global stands for, and all that the file makes with it: nothing is run.

    It may lie beside a state dict, not in it: see `state_dict`.
    """

    name: str


class Call:
    """What the name of a function stands for: one of the reader's own, given the arguments."""

    def __init__(self, function: Callable[[tuple], Any]):
        self.function = function


def _check_protocol(machine: Machine, protocol: int) -> None:
    if protocol > 4:
        raise UnsupportedError(f"is of pickle protocol {protocol}; 2, 3 and 4 are read")


def _push_text(machine: Machine, size: int) -> None:
    if size <= _LONGEST_TEXT:
        machine.push(machine.text(size, "utf-8"))
    else:
        machine.push(Payload(machine.skip(size), size, is_text=True))


def _push_python2_string(machine: Machine, size: int) -> None:
    if 0 <= size <= _LONGEST_TEXT:
        machine.push(machine.text(size, "latin-1"))
    else:
        _push_bytes(machine, size)


def _push_bytes(machine: Machine, size: int) -> None:
    machine.push(Payload(machine.skip(size), size, is_text=False))


def _push_long(machine: Machine, size: int) -> None:
    start = machine.skip(size)
    machine.push(int.from_bytes(machine.data[start : start + size], "little", signed=True))


def _push_memo(machine: Machine, index: int) -> None:
    if index not in machine.memo:
        raise DamagedError(f"has a pickle that recalls value {index}, which it never noted")
    machine.push(machine.memo[index])


def _put_memo(machine: Machine, index: int) -> None:
    machine.memo[index] = machine.top(object)


def _append_memo(machine: Machine) -> None:
    _put_memo(machine, len(machine.memo))


def _mark(machine: Machine) -> None:
    machine.marks.append(len(machine.stack))


def _push_tuple(machine: Machine, size: int) -> None:
    machine.push(tuple([machine.pop() for _ in range(size)][::-1]))


def _append(machine: Machine) -> None:
    value = machine.pop()
    if not _top_is_opaque(machine):
        machine.top(list).append(value)


def _extend(machine: Machine) -> None:
    values = machine.pop_to_mark()
    if not _top_is_opaque(machine):
        machine.top(list).extend(values)


def _set_item(machine: Machine) -> None:
    value, key = machine.pop(), machine.pop()
    if not _top_is_opaque(machine):
        add_item(machine.top(dict), key, value)


def _set_items(machine: Machine) -> None:
    values = machine.pop_to_mark()
    if len(values) % 2:
        raise DamagedError(f"has a pickle with a key that has no value, at {machine.position}")
    if _top_is_opaque(machine):
        return
    target = machine.top(dict)
    for key, value in zip(values[::2], values[1::2], strict=True):
        add_item(target, key, value)


def _top_is_opaque(machine: Machine) -> bool:
    return isinstance(machine.top(object), Opaque)


def _push_global(machine: Machine) -> None:
    machine.push(_look_up(machine, machine.line(), machine.line()))


def _push_stack_global(machine: Machine) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(module, str) or not isinstance(name, str):
        raise DamagedError(f"names a global by {shown(module)} and {shown(name)}")
    machine.push(_look_up(machine, module, name))


def _look_up(machine: Machine, module: str, name: str) -> Any:
    if (module, name) not in machine.names:
        unknown_global = Opaque(f"{module}.{name}")
        if not machine.may_be_opaque:
            raise asks_for(unknown_global)
        return unknown_global
    value = machine.names[module, name]
    if isinstance(value, UnsupportedError):
        raise value
    return value


def asks_for(value: Opaque) -> RefusedError:
    """Return what to raise where a value that is needed can only be had by running something."""
    return RefusedError(f"asks for {shown(value.name)}, which plain data do not need")


def _reduce(machine: Machine) -> None:
    arguments, function = machine.pop(), machine.pop()
    if isinstance(function, Opaque):
        machine.push(function)
        return
    if not isinstance(function, Call) or not isinstance(arguments, tuple):
        raise RefusedError(f"asks to call {shown(function)} with {shown(arguments)}")
    if len(arguments) > _MOST_ARGUMENTS:
        raise DamagedError(f"has a call with {len(arguments)} arguments")
    machine.push(function.function(arguments))


def _new_object(machine: Machine, arguments: int) -> None:
    """Make an instance of an opaque class opaque too."""
    kind = machine.stack[-1 - arguments] if len(machine.stack) > arguments else None
    if not isinstance(kind, Opaque):
        raise unknown(_NEWOBJ if arguments == 1 else _NEWOBJ_EX)
    for _ in range(arguments + 1):
        machine.pop()
    machine.push(kind)


def _build(machine: Machine) -> None:
    state, value = machine.pop(), machine.top(object)
    if isinstance(value, Opaque):
        return
    if type(value) not in machine.states:
        raise RefusedError(f"asks to set the inner state of {shown(value)}")
    machine.states[type(value)](value, state)


def _push_persistent(machine: Machine) -> None:
    if machine.persistent is None:
        raise RefusedError("asks for data outside of it by a persistent id")
    machine.push(machine.persistent(machine.pop()))


def _push(machine: Machine, value: object) -> None:
    machine.push(value)


def add_item(target: dict, key: object, value: object) -> None:
    """Set an item whose key is as cheap to hash and to compare as those of real checkpoints."""
    # Hashing a deep tuple overflows the C stack, and giant integers can be made to collide.
    if not (
        isinstance(key, str) or key is None or (isinstance(key, int) and -(2**63) <= key < 2**64)
    ):
        raise UnsupportedError(f"has a dict with {shown(key)} for a key")
    target[key] = value


def ordered_dict(arguments: tuple) -> dict:
    """Return what stands for a call of collections.OrderedDict."""
    match arguments:
        case ():
            return {}
        case (list() as items,):  # Python 2 writes the items as an argument
            result: dict = {}
            for item in items:
                match item:
                    case (key, value):
                        add_item(result, key, value)
                    case _:
                        raise DamagedError(f"has an OrderedDict with {shown(item)} for an item")
            # In a real file nobody else holds this list. Emptied, it cannot be copied once more.
            items.clear()
            return result
    raise DamagedError("has an OrderedDict made in a way that Python does not write")


def unknown(code: int) -> FileError:
    """Return what to raise for an instruction that is not among these."""
    known = pickletools.code2op.get(chr(code))  # type: ignore[attr-defined]
    if known is None:
        return DamagedError(f"has the byte {code:#04x} where its pickle should have an instruction")
    return RefusedError(f"uses the pickle instruction {known.name}, which plain data do not need")


def _instructions() -> dict[int, tuple[struct.Struct, Callable]]:
    codes = {info.name: ord(info.code) for info in pickletools.opcodes}
    named: dict[str, tuple[str, Callable]] = {
        "PROTO": ("B", _check_protocol),
        # frames only say what to read ahead
        "FRAME": ("<Q", lambda machine, size: None),
        "NONE": ("", lambda machine: machine.push(None)),
        "NEWTRUE": ("", lambda machine: machine.push(True)),
        "NEWFALSE": ("", lambda machine: machine.push(False)),
        "BININT": ("<i", _push),
        "BININT1": ("B", _push),
        "BININT2": ("<H", _push),
        "LONG1": ("B", _push_long),
        "BINFLOAT": (">d", _push),
        "SHORT_BINUNICODE": ("B", _push_text),
        "BINUNICODE": ("<I", _push_text),
        "BINUNICODE8": ("<Q", _push_text),
        "SHORT_BINSTRING": ("B", _push_python2_string),
        "BINSTRING": ("<i", _push_python2_string),
        "SHORT_BINBYTES": ("B", _push_bytes),
        "BINBYTES": ("<I", _push_bytes),
        "BINBYTES8": ("<Q", _push_bytes),
        "EMPTY_TUPLE": ("", lambda machine: machine.push(())),
        "TUPLE1": ("", lambda machine: _push_tuple(machine, 1)),
        "TUPLE2": ("", lambda machine: _push_tuple(machine, 2)),
        "TUPLE3": ("", lambda machine: _push_tuple(machine, 3)),
        "TUPLE": ("", lambda machine: machine.push(tuple(machine.pop_to_mark()))),
        "EMPTY_LIST": ("", lambda machine: machine.push([])),
        "APPEND": ("", _append),
        "APPENDS": ("", _extend),
        # a set of the file is never asked for membership: a list needs no hashing
        "EMPTY_SET": ("", lambda machine: machine.push([])),
        "ADDITEMS": ("", _extend),
        "EMPTY_DICT": ("", lambda machine: machine.push({})),
        "SETITEM": ("", _set_item),
        "SETITEMS": ("", _set_items),
        "MARK": ("", _mark),
        "BINGET": ("B", _push_memo),
        "LONG_BINGET": ("<I", _push_memo),
        "BINPUT": ("B", _put_memo),
        "LONG_BINPUT": ("<I", _put_memo),
        "MEMOIZE": ("", _append_memo),
        "GLOBAL": ("", _push_global),
        "STACK_GLOBAL": ("", _push_stack_global),
        "REDUCE": ("", _reduce),
        "NEWOBJ": ("", lambda machine: _new_object(machine, 1)),
        "NEWOBJ_EX": ("", lambda machine: _new_object(machine, 2)),
        "BUILD": ("", _build),
        "BINPERSID": ("", _push_persistent),
    }
    return {codes[name]: (struct.Struct(layout), act) for name, (layout, act) in named.items()}


STOP = ord(".")
_NEWOBJ, _NEWOBJ_EX = 0x81, 0x92
INSTRUCTIONS = _instructions()
