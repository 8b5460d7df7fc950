"""What an edit of a checkpoint is, how its text is read, which tensors it takes and what goes along with them."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.names import Pattern
from ckpttool.core.tensors import Tensor
from ckpttool.core.variable_kinds import OBJECT_GRAPH

SETTINGS = ("slots", "allow_truncate", "seed")
"""Fields that are set once for several edits, not in the text of one."""
_CALL = re.compile(r"(.+?)=\s*([a-z]+\s*\(.*\))", re.DOTALL)
"""A pattern and a call; the call's own keywords have their equals signs inside of its brackets."""


@dataclass(frozen=True)
class Edit(ABC):
    """An edit: a pure function from a Checkpoint to a Checkpoint, that reads no value by itself.

    A subclass is a frozen dataclass of its parameters; the first line of its docstring is its help. As renaming needs
    no NumPy, which takes long to import, it is imported where it is used.
    """

    name: ClassVar[str]
    """What the edit is called in scripts and on the command line."""
    notation: ClassVar[str] = ""
    """How its text is written; empty where it has none."""
    optional: ClassVar[bool] = False
    """Whether its text may be missing, and is empty then."""

    @classmethod
    def help(cls) -> str:
        """Return the first line of the docstring."""
        return (cls.__doc__ or "").partition("\n")[0]

    @classmethod
    @abstractmethod
    def parse(cls, text: str) -> Self:
        """Return the edit that a text says.

        Raises:
            PlanError: it is not in the notation.
        """

    @abstractmethod
    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the edited checkpoint.

        Raises:
            UnknownName: the edit takes nothing.
            CkptError: it is refused.
        """

    def remarks(self, ckpt: Checkpoint) -> list[str]:
        """Return what a user should know of what it will do to a checkpoint; by default, nothing."""
        del ckpt
        return []


class EditWithoutValue(Edit):
    """An edit without parameters: an option that is given or not."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Refuse a text."""
        if text:
            raise PlanError("it accepts no value")
        return cls()


def split_value(text: str, notation: str) -> tuple[str, str]:
    """Split `PATTERN=VALUE`.

    Raises:
        PlanError: one of the two is missing.
    """
    pattern, equals, value = (each.strip() for each in text.rpartition("="))
    if not (pattern and equals):
        raise PlanError(f"expected {notation}")
    return pattern, value


def split_call(text: str, notation: str) -> tuple[str, str]:
    """Split `PATTERN = call(...)`.

    >>> split_call("fc/.* = to(20, axis=1)", "RE = to(20)")
    ('fc/.*', 'to(20, axis=1)')

    Raises:
        PlanError: it is something else.
    """
    match = _CALL.fullmatch(text.strip())
    if not match:
        raise PlanError(f"expected {notation}")
    return match[1].strip(), match[2]


def whole_numbers(text: str, expected: str) -> tuple[int, ...]:
    """Read `784,300`.

    Raises:
        PlanError: it is something else.
    """
    try:
        return tuple(int(each) for each in text.split(","))
    except ValueError as error:
        raise PlanError(f"{text!r}: expected {expected}") from error


def number(text: str) -> int | float:
    """Read an integer or a float.

    Raises:
        PlanError: it is neither.
    """
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    raise PlanError(f"{text!r} is not a number")


def named(ckpt: Checkpoint) -> list[str]:
    """Return the names of all tensors but an object graph, which says where they belong and is not a value."""
    return [name for name in ckpt if name != OBJECT_GRAPH]


def scale_of(name: str) -> str:
    """Return the name of the scale of a tensor that was quantised to integers."""
    return f"{name}/scale"


def quantised(ckpt: Checkpoint) -> list[str]:
    """Return the names of the integers that have a scale."""
    scales = {name for name, tensor in ckpt.items() if tensor.shape == ()}
    return [name for name, tensor in ckpt.items() if tensor.dtype.name == "int8" and scale_of(name) in scales]


def taken(ckpt: Checkpoint, pattern: str | None, slots: bool = False) -> list[str]:
    """Return the weights that a pattern takes, all without one; with `slots` slots and step counters too.

    The scale of integers is not a weight of its own.

    Raises:
        UnknownName: the pattern takes none.
    """
    kind, scales = ckpt.kinds(), set(map(scale_of, quantised(ckpt)))
    names = [name for name in named(ckpt) if (slots or kind[name] == "weight") and name not in scales]
    return names if pattern is None else Pattern(pattern).select(names)


def slots_in_shape(ckpt: Checkpoint, names: Iterable[str]) -> dict[str, str]:
    """Return the slots that change their shape with their variables, and whose each one is; a scalar stays.

    Raises:
        PlanError: one has another shape than its variable.
    """
    names = set(names)
    slots = {slot: owner for slot, owner in ckpt.owners().items() if owner in names - {slot} and ckpt[slot].shape != ()}
    for slot, owner in slots.items():
        if ckpt[slot].shape != ckpt[owner].shape:
            raise PlanError(
                f"{slot} is {list(ckpt[slot].shape)} and cannot be changed together with {owner}, which is "
                f"{list(ckpt[owner].shape)}; `drop_slots` before this edit removes it"
            )
    return slots


def with_tied(ckpt: Checkpoint, names: Iterable[str]) -> list[str]:
    """Return names, and those of the tensors that are tied to them, which have the same shape."""
    ties, names = ckpt.ties(), list(names)
    groups = {ties.get(name, name) for name in names}
    tied = [name for name in [*ties, *dict.fromkeys(ties.values())] if ties.get(name, name) in groups]
    return list(dict.fromkeys([*names, *tied]))


def changed(ckpt: Checkpoint, names: Iterable[str], change: Callable[[Tensor], Tensor]) -> Checkpoint:
    """Return a checkpoint in which some tensors are changed, and all keep their names."""
    new = {name: change(ckpt[name]) for name in names}
    return ckpt.holding({name: new.get(name) or tensor for name, tensor in ckpt.items()})


def require_numbers(tensor: Tensor, what: str) -> None:
    """Check that a tensor holds integers or floats.

    Raises:
        PlanError: it does not; `what` cannot be done with it.
    """
    if not tensor.dtype.is_number:
        raise PlanError(f"{tensor.name} has {tensor.dtype} elements, which cannot be {what}")
