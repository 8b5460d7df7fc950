"""The base class of edits, parsing of their texts, and selection of tensors, with their slots and tied tensors."""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar, Self

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.patterns import Pattern
from ckpttool.core.tensors import Tensor
from ckpttool.core.variable_kinds import OBJECT_GRAPH

SETTINGS = ("slots", "allow_truncate", "seed")
"""Fields that are set for all edits of a run, rather than in the text of one."""
_CALL = re.compile(r"(.+?)=\s*([a-z]+\s*\(.*\))", re.DOTALL)
"""A pattern and a call; equals signs of the call's keywords are inside its parentheses."""


@dataclass(frozen=True)
class Edit(ABC):
    """An edit: a pure function from a Checkpoint to a Checkpoint, which reads no values itself.

    A subclass is a frozen dataclass of its parameters; the first line of its docstring is its help text. NumPy is
    imported only in functions, because it takes long to import, and renaming does not need it.
    """

    name: ClassVar[str]
    """The name of the edit in scripts and on the command line."""
    notation: ClassVar[str] = ""
    """The notation of its text; empty if it has none."""
    optional: ClassVar[bool] = False
    """Whether its text may be omitted, which is the same as an empty text."""

    @classmethod
    def help(cls) -> str:
        """Return the first line of the docstring."""
        return (cls.__doc__ or "").partition("\n")[0]

    @classmethod
    @abstractmethod
    def parse(cls, text: str) -> Self:
        """Return the edit for a text.

        Raises:
            PlanError: the text is not in the notation.
        """

    @abstractmethod
    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the edited checkpoint.

        Raises:
            UnknownName: no tensor matches.
            CkptError: the edit is not possible.
        """

    def remarks(self, ckpt: Checkpoint) -> list[str]:
        """Return notes for the user on the edit of a checkpoint; empty by default."""
        del ckpt
        return []


class EditWithoutValue(Edit):
    """An edit without parameters: a flag."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the edit; raises PlanError if there is a text."""
        if text:
            raise PlanError("it accepts no value")
        return cls()


def split_value(text: str, notation: str) -> tuple[str, str]:
    """Split `PATTERN=VALUE`.

    Raises:
        PlanError: the pattern or the equals sign is missing.
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
        PlanError: the text has another form.
    """
    match = _CALL.fullmatch(text.strip())
    if not match:
        raise PlanError(f"expected {notation}")
    return match[1].strip(), match[2]


def whole_numbers(text: str, expected: str) -> tuple[int, ...]:
    """Parse integers such as `784,300`.

    Raises:
        PlanError: the text has another form.
    """
    try:
        return tuple(int(each) for each in text.split(","))
    except ValueError as error:
        raise PlanError(f"{text!r}: expected {expected}") from error


def number(text: str) -> int | float:
    """Parse an integer or a float.

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
    """Return the names of all tensors except an object graph, which is not a value."""
    return [name for name in ckpt if name != OBJECT_GRAPH]


def scale_of(name: str) -> str:
    """Return the name of the scale of a quantised tensor."""
    return f"{name}/scale"


def quantised(ckpt: Checkpoint) -> list[str]:
    """Return the names of the int8 tensors that have a scale."""
    scales = {name for name, tensor in ckpt.items() if tensor.shape == ()}
    return [name for name, tensor in ckpt.items() if tensor.dtype.name == "int8" and scale_of(name) in scales]


def taken(ckpt: Checkpoint, pattern: str | None, slots: bool = False) -> list[str]:
    """Return the names of weights that a pattern matches (all without one); with `slots`, also slots and step counters.

    Scales of quantised tensors are not included.

    Raises:
        UnknownName: the pattern matches none.
    """
    kind, scales = ckpt.kinds(), set(map(scale_of, quantised(ckpt)))
    names = [name for name in named(ckpt) if (slots or kind[name] == "weight") and name not in scales]
    return names if pattern is None else Pattern(pattern).select(names)


def taken_numbers(ckpt: Checkpoint, pattern: str | None, slots: bool, what: str) -> list[str]:
    """Return the names that `taken` returns, of tensors of numbers only.

    Raises:
        UnknownName: the pattern matches none.
        PlanError: a tensor does not contain numbers; `what` is the participle for the message.
    """
    names = taken(ckpt, pattern, slots)
    for name in names:
        require_numbers(ckpt[name], what)
    return names


def slots_in_shape(ckpt: Checkpoint, names: Iterable[str]) -> dict[str, str]:
    """Return the slots that must be reshaped with variables, with the names of the variables; scalars are omitted.

    Raises:
        PlanError: a slot has another shape than its variable.
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
    """Return names, with those of the tensors that are tied to them, which have the same shape."""
    ties, names = ckpt.ties(), list(names)
    groups = {ties.get(name, name) for name in names}
    tied = [name for name in [*ties, *dict.fromkeys(ties.values())] if ties.get(name, name) in groups]
    return list(dict.fromkeys([*names, *tied]))


def changed(ckpt: Checkpoint, names: Iterable[str], change: Callable[[Tensor], Tensor]) -> Checkpoint:
    """Return a checkpoint with `change` applied to some tensors; names are kept."""
    new = {name: change(ckpt[name]) for name in names}
    return ckpt.holding({name: new.get(name) or tensor for name, tensor in ckpt.items()})


def require_numbers(tensor: Tensor, what: str) -> None:
    """Check that a tensor contains integers or floats.

    Raises:
        PlanError: it does not; `what` is the participle for the message.
    """
    if not tensor.dtype.is_number:
        raise PlanError(f"{tensor.name} has {tensor.dtype} elements, which cannot be {what}")
