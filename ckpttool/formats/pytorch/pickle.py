"""The pickle in a file of PyTorch, interpreted without running anything: opcodes on a small stack of inert records.

The opcodes: Lib/pickletools.py. Those that Python writes at protocols 2 to 5 are accepted, and any name that could not
act where PyTorch loads the file; nothing is imported, looked up or called for a name.
"""

import pickletools
from collections.abc import Callable
from functools import partial
from typing import Any

from ckpttool.formats.pytorch import makers
from ckpttool.formats.pytorch.numpy_arrays import NumpyArray, NumpyType
from ckpttool.formats.pytorch.records import Global, Object, Pairs, Unread, View

OPCODE_LIMIT = 2_500_000
_MOVED = {"__builtin__": "builtins", "copy_reg": "copyreg"}
"""Modules under their names in Python 2, which protocol 2 uses."""


def interpret(data: Any, persistent: Callable[[Any], Any] = makers.storage) -> Any:
    """Return the value of a pickle: numbers, texts, lists, tuples, and the records of `records.py`.

    `data` is bytes or a file, which is read up to the pickle's end. `persistent` returns the value for a persistent id,
    such as a storage.

    Raises:
        ValueError: it is damaged, or has an opcode that PyTorch does not write.
        ForbiddenName: it refers to a function that could act.
    """
    machine = _Machine(persistent)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count == OPCODE_LIMIT:
                raise ValueError(f"it has more than {OPCODE_LIMIT} opcodes")
            machine.step(opcode.name, argument)
        (value,) = machine.stack
    except (IndexError, KeyError) as error:
        raise ValueError(f"the operand of an opcode is missing ({error})") from error
    return value


class _Machine:
    """A stack, the positions of marks on it, and the memo."""

    def __init__(self, persistent: Callable[[Any], Any]) -> None:
        self.persistent = persistent
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        """Execute an opcode."""
        if name in VALUES:
            self.stack.append(argument)
        elif name in STEPS:
            STEPS[name](self, argument)
        else:
            raise ValueError(f"it has the opcode {name}, which PyTorch does not write")

    def peek(self) -> Any:
        """Return the value on top, which must be above the last mark."""
        if self.marks and len(self.stack) <= self.marks[-1]:
            raise ValueError("there is a mark in place of a value")
        return self.stack[-1]

    def pop(self) -> Any:
        """Pop the value on top."""
        self.peek()
        return self.stack.pop()

    def pop_marked(self) -> list[Any]:
        """Pop all above the last mark, and the mark."""
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def top(self, *kinds: type) -> Any:
        """Return the value on top, to be changed: of one of the given kinds, or an object, which accepts anything."""
        value = self.peek()
        if type(value) not in kinds:
            raise ValueError(f"expected {kinds[0].__name__}, found {type(value).__name__}")
        return value


def _push(value: Any, machine: _Machine, _: Any) -> None:
    machine.stack.append(value)


def _push_new(kind: type, machine: _Machine, _: Any) -> None:
    machine.stack.append(kind())


def _mark(machine: _Machine, _: Any) -> None:
    machine.marks.append(len(machine.stack))


def _tuple(size: int, machine: _Machine, _: Any) -> None:
    values = [machine.pop() for _ in range(size)]
    machine.stack.append(tuple(reversed(values)))


def _marked_tuple(machine: _Machine, _: Any) -> None:
    machine.stack.append(tuple(machine.pop_marked()))


def _items(machine: _Machine) -> list[Any]:
    """Return the list on top, or that of an object, whose class may be one of lists or sets."""
    top: list[Any] | Object = machine.top(list, Object)
    return top.items if isinstance(top, Object) else top


def _pairs(machine: _Machine) -> Pairs:
    """Return the dict on top, or that of an object, whose class may be one of dicts."""
    top: Pairs | Object = machine.top(Pairs, Object)
    return top.pairs if isinstance(top, Object) else top


def _append(machine: _Machine, _: Any) -> None:
    value = machine.pop()
    _items(machine).append(value)


def _appends(machine: _Machine, _: Any) -> None:
    values = machine.pop_marked()
    _items(machine).extend(values)


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.pop(), machine.pop()
    _pairs(machine).append((key, value))


def _set_items(machine: _Machine, _: Any) -> None:
    values = machine.pop_marked()
    _pairs(machine).extend(zip(values[::2], values[1::2], strict=True))


def _put(machine: _Machine, place: int | None) -> None:
    machine.memo[len(machine.memo) if place is None else place] = machine.peek()


def _get(machine: _Machine, place: int) -> None:
    machine.stack.append(machine.memo[place])


def _global(machine: _Machine, name: str) -> None:
    module, _, rest = name.partition(" ")
    name = f"{_MOVED.get(module, module)}.{rest}"
    makers.require_harmless(name)
    machine.stack.append(Global(name))


def _stack_global(machine: _Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    if not isinstance(name, str) or not isinstance(module, str):
        raise ValueError("a name is not text")
    _global(machine, f"{module} {name}")


def _reduce(machine: _Machine, _: Any) -> None:
    arguments, called = machine.pop(), machine.pop()
    if not isinstance(called, (Global, Object)):
        raise ValueError("something is called that is not a name")
    made = makers.make(called.name, arguments) if isinstance(called, Global) else Object(called.name)
    machine.stack.append(made)


def _new_with_names(machine: _Machine, _: Any) -> None:
    """Make an object of a class with keyword arguments, which are ignored."""
    machine.pop()
    _reduce(machine, None)


def _build(machine: _Machine, _: Any) -> None:
    """Set the state of an array of NumPy or an object; that of others is ignored (`_metadata` of a state dict)."""
    state = machine.pop()
    built = machine.top(Object, Pairs, NumpyArray, NumpyType, View, Unread, list)
    if isinstance(built, (NumpyArray, NumpyType)):
        built.build(state)
    elif isinstance(built, Object):
        built.state = state


def _persistent(machine: _Machine, _: Any) -> None:
    machine.stack.append(machine.persistent(machine.pop()))


def _nothing(machine: _Machine, _: Any) -> None:
    pass


VALUES = {
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    *("BINSTRING", "SHORT_BINSTRING"),  # texts of Python 2, which are bytes, as latin-1
}
"""Opcodes that push their argument."""
STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing),
    "NONE": partial(_push, None),
    "NEWTRUE": partial(_push, True),
    "NEWFALSE": partial(_push, False),
    "EMPTY_TUPLE": partial(_push, ()),
    "EMPTY_DICT": partial(_push_new, Pairs),
    "EMPTY_LIST": partial(_push_new, list),
    "EMPTY_SET": partial(_push_new, list),
    "MARK": _mark,
    "TUPLE": _marked_tuple,
    "FROZENSET": _marked_tuple,
    "TUPLE1": partial(_tuple, 1),
    "TUPLE2": partial(_tuple, 2),
    "TUPLE3": partial(_tuple, 3),
    "APPEND": _append,
    "APPENDS": _appends,
    "ADDITEMS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    **dict.fromkeys(("BINPUT", "LONG_BINPUT", "MEMOIZE"), _put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), _get),
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "REDUCE": _reduce,
    "NEWOBJ": _reduce,
    "BUILD": _build,
    "NEWOBJ_EX": _new_with_names,
    "BINPERSID": _persistent,
}
"""The effects of all other opcodes."""
