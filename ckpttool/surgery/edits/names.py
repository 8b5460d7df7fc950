"""Edits of names: which tensors are kept, and their names. Values are not read, and are copied unchanged."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.core.names import scopes_above
from ckpttool.core.patterns import Pattern, renamed
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Tensor
from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.surgery.edits.edit import Edit, EditWithoutValue, named, taken

DOTTED = ("torch", "safetensors", "onnx")
"""Formats with PyTorch's names, in which dots are the separators even if no name contains one."""


@dataclass(frozen=True)
class _OfPattern(Edit):
    """An edit of the tensors that a pattern matches."""

    notation: ClassVar[str] = "RE"
    pattern: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a pattern."""
        return cls(text)


@dataclass(frozen=True)
class Keep(_OfPattern):
    """Keep only the tensors that match a pattern, with their slots.

    >>> import numpy as np
    >>> names = ["hidden1/kernel", "hidden1/kernel/Momentum", "outputs/kernel", "global_step"]
    >>> list(Keep("hidden1").apply(Checkpoint.of(dict.fromkeys(names, np.zeros(2)))))
    ['hidden1/kernel', 'hidden1/kernel/Momentum']
    """

    name: ClassVar[str] = "keep"

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the tensors that the pattern matches, with their slots and an object graph."""
        return ckpt.only(_with_slots(ckpt, self.pattern) | {OBJECT_GRAPH})


@dataclass(frozen=True)
class Drop(_OfPattern):
    """Drop the tensors that match a pattern, with their slots.

    >>> import numpy as np
    >>> names = ["hidden1/kernel", "hidden1/kernel/Momentum", "outputs/kernel", "global_step"]
    >>> list(Drop("hidden1").apply(Checkpoint.of(dict.fromkeys(names, np.zeros(2)))))
    ['outputs/kernel', 'global_step']
    """

    name: ClassVar[str] = "drop"

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the other tensors."""
        return ckpt.only(set(ckpt) - _with_slots(ckpt, self.pattern))


def _with_slots(ckpt: Checkpoint, pattern: str) -> set[str]:
    """Return the names of tensors that a pattern matches, with the slots of variables among them.

    Only a pattern that contains the name of the object graph matches it: `.*` means a model's tensors.
    """
    names = set(Pattern(pattern).select(ckpt if OBJECT_GRAPH in pattern else named(ckpt)))
    return names | {slot for slot, owner in ckpt.owners().items() if owner in names}


@dataclass(frozen=True)
class DropSlots(EditWithoutValue):
    """Drop the optimizer's slots; step counters are kept.

    >>> import numpy as np
    >>> names = ["fc/kernel", "fc/kernel/Adam", "fc/kernel/Adam_1", "beta1_power", "global_step"]
    >>> list(DropSlots().apply(Checkpoint.of(dict.fromkeys(names, np.zeros(2)))))
    ['fc/kernel', 'global_step']
    """

    name: ClassVar[str] = "drop-slots"

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the tensors that are not slots.

        Raises:
            UnknownName: there are no slots.
        """
        kept = {name for name, kind in ckpt.kinds().items() if kind != "slot"}
        if len(kept) == len(ckpt):
            raise UnknownName("there are no slots")
        return ckpt.only(kept)


@dataclass(frozen=True)
class Rename(Edit):
    r"""Rename whole components: 'hidden(\d)=>fc\1'.

    Of several rules, 'a=>b; b=>a', the first that matches a name is applied. Slots are renamed with their variables: if
    no rule matches a slot's name, the variable's name in it is replaced.

    >>> import numpy as np
    >>> names = ["hidden1/kernel", "hidden1/kernel/Momentum", "Adam/m/hidden1/kernel"]
    >>> list(Rename.parse(r"hidden(\d)=>layer\1").apply(Checkpoint.of(dict.fromkeys(names, np.zeros(2)))))
    ['layer1/kernel', 'layer1/kernel/Momentum', 'Adam/m/layer1/kernel']
    """

    name: ClassVar[str] = "rename"
    notation: ClassVar[str] = "RE=>NEW"
    rules: Mapping[str, str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `RE=>NEW`, or several separated by semicolons."""
        return cls(dict(map(_rule, text.split(";") if text.count("=>") > 1 else [text])))

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the tensors under their new names.

        Raises:
            UnknownName: no rule matches a name.
            PlanError: two tensors would have the same name, or a name would be empty.
        """
        names = {old: new for new, old in renamed(named(ckpt), self.rules).items()}
        for slot, owner in ckpt.owners().items():
            if names[slot] == slot and names[owner] != owner:
                before, within, after = f"/{slot}/".rpartition(f"/{owner}/")
                names[slot] = f"{before}/{names[owner]}/{after}".strip("/") if within else slot
        return _renamed(ckpt, names)


@dataclass(frozen=True)
class Copy(Edit):
    r"""Copy what matches a pattern to a new name: 'hidden1=>hidden2'.

    Slots are not copied. The graph has no variable for a copy, which exists only in the checkpoint.

    >>> import numpy as np
    >>> list(Copy("hidden1", "hidden2").apply(Checkpoint.of({"hidden1/kernel": np.zeros(2)})))
    ['hidden1/kernel', 'hidden2/kernel']
    """

    name: ClassVar[str] = "copy"
    notation: ClassVar[str] = "RE=>NEW"
    pattern: str
    new: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse `RE=>NEW`; spaces around the arrow are ignored."""
        return cls(*_rule(text))

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the tensors, followed by the copies.

        Raises:
            UnknownName: the pattern matches nothing.
            PlanError: a copy would have the name of another tensor.
        """
        names = renamed(taken(ckpt, self.pattern), {self.pattern: self.new})
        for new, old in names.items():
            if new in ckpt or new in ckpt.origins.values():
                raise PlanError(f"{new}, the copy of {old}, is already the name of another tensor")
        return ckpt.holding({**ckpt, **{new: ckpt[old].renamed(new) for new, old in names.items()}})


@dataclass(frozen=True)
class AddPrefix(Edit):
    """Add a scope in front of every name.

    `model` results in `model/hidden1/kernel`, or `model.features.0.weight` for dotted names; the separator can be
    specified by `model/` or `model.`.

    >>> import numpy as np
    >>> list(AddPrefix("model").apply(Checkpoint.of({"hidden1/kernel": np.zeros(2)})))
    ['model/hidden1/kernel']
    >>> list(AddPrefix("model").apply(Checkpoint.of({"features.0.weight": np.zeros(2), "scale": np.zeros(2)})))
    ['model.features.0.weight', 'model.scale']
    """

    name: ClassVar[str] = "add-prefix"
    notation: ClassVar[str] = "SCOPE"
    prefix: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a scope."""
        return cls(text)

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the tensors with prefixed names.

        Raises:
            PlanError: the prefix is empty.
        """
        scope, between = _scope(self.prefix)
        own = {name: next((each for each in "/." if each in name.strip(".")), "") for name in named(ckpt)}
        dotted = "." in own.values() or ("/" not in own.values() and ckpt.format in DOTTED)
        default = "." if dotted else "/"
        return _renamed(ckpt, {name: scope + (between or each or default) + name for name, each in own.items()})


@dataclass(frozen=True)
class StripPrefix(Edit):
    """Remove a scope from the front of every name.

    >>> import numpy as np
    >>> list(StripPrefix("model/").apply(Checkpoint.of({"model/hidden1/kernel": np.zeros(2)})))
    ['hidden1/kernel']
    >>> list(StripPrefix("module").apply(Checkpoint.of({"module.features.0.weight": np.zeros(2)})))
    ['features.0.weight']
    """

    name: ClassVar[str] = "strip-prefix"
    notation: ClassVar[str] = "SCOPE"
    prefix: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a scope."""
        return cls(text)

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the tensors with names without the prefix.

        Raises:
            UnknownName: no name begins with the prefix.
            PlanError: some names do not begin with it, or the prefix is empty.
        """
        (scope, between), names = _scope(self.prefix), named(ckpt)
        within = {name for name in names if scope in scopes_above(name)[:-1] and name.startswith(scope + between)}
        without = [name for name in names if name not in within]
        if not within:
            raise UnknownName(f"no name begins with {scope}{between or '/'}{suggestion(self.prefix, names)}")
        if without:
            sign = "/" if all(name[len(scope)] == "/" for name in within) else "[/.]"
            raise PlanError(
                f"{counted(len(without), 'name does', 'names do')} not begin with {scope}{between or sign}, "
                f"{without[0]} among them; "
                f"`rename` '{scope}{sign}(.*)=>\\1' renames only those that do"
            )
        return _renamed(ckpt, {name: name[len(scope) + 1 :] for name in names})


def _scope(prefix: str) -> tuple[str, str]:
    """Return a scope, and the separator at the end of the text, or an empty string."""
    scope = prefix.rstrip("/.")
    if not scope:
        raise PlanError("the prefix is empty")
    return scope, prefix[len(scope) :][:1]


def _rule(text: str) -> tuple[str, str]:
    """Parse `RE=>NEW`; spaces around the arrow are ignored."""
    old, arrow, new = (part.strip() for part in text.partition("=>"))
    if not (old and arrow and new) or "=>" in new:
        raise PlanError("expected 'RE=>NEW'")
    return old, new


def _renamed(ckpt: Checkpoint, names: dict[str, str]) -> Checkpoint:
    """Return the checkpoint with renamed tensors (old -> new); others keep their names."""
    tensors: dict[str, Tensor] = {}
    olds: dict[str, str] = {}
    for name, tensor in ckpt.items():
        new = names.get(name, name)
        if not new.strip("/") or new != new.strip("/"):
            raise PlanError(f"{name} would be named {new!r}: a name must begin and end with a component")
        if new in olds:
            raise PlanError(f"{olds[new]} and {name} would both be named {new}")
        tensors[new], olds[new] = (tensor if new == name else tensor.renamed(new)), name
    return ckpt.holding(tensors, olds)
