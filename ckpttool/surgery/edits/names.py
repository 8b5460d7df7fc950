"""Edits of names: which tensors stay, and what they are called. Values are not read, and are copied as they lie."""

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.core.names import Pattern, renamed, suggestion
from ckpttool.core.tensors import Tensor
from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.surgery.edits.taking import named, owners


def keep(ckpt: Checkpoint, pattern: str) -> Checkpoint:
    """Keep the tensors that a pattern takes, and the slots of these.

    >>> import numpy as np
    >>> names = ["hidden1/kernel", "hidden1/kernel/Momentum", "outputs/kernel", "global_step"]
    >>> list(keep(Checkpoint.of(dict.fromkeys(names, np.zeros(2))), "hidden1"))
    ['hidden1/kernel', 'hidden1/kernel/Momentum']

    Raises:
        UnknownName: it takes none.
    """
    return ckpt.only(_with_slots(ckpt, pattern) | {OBJECT_GRAPH})


def drop(ckpt: Checkpoint, pattern: str) -> Checkpoint:
    """Leave out the tensors that a pattern takes, and the slots of these.

    >>> import numpy as np
    >>> names = ["hidden1/kernel", "hidden1/kernel/Momentum", "outputs/kernel", "global_step"]
    >>> list(drop(Checkpoint.of(dict.fromkeys(names, np.zeros(2))), "hidden1"))
    ['outputs/kernel', 'global_step']

    Raises:
        UnknownName: it takes none.
    """
    return ckpt.only(set(ckpt) - _with_slots(ckpt, pattern))


def drop_slots(ckpt: Checkpoint) -> Checkpoint:
    """Leave out an optimizer's slots and the step counters, by their kinds.

    >>> import numpy as np
    >>> names = ["fc/kernel", "fc/kernel/Adam", "fc/kernel/Adam_1", "beta1_power", "global_step"]
    >>> list(drop_slots(Checkpoint.of(dict.fromkeys(names, np.zeros(2)))))
    ['fc/kernel']

    Raises:
        UnknownName: there are none.
    """
    kept = {name for name, kind in ckpt.kinds().items() if kind not in ("slot", "step")}
    if len(kept) == len(ckpt):
        raise UnknownName("there are no slots and no step counters")
    return ckpt.only(kept)


def rename(ckpt: Checkpoint, pattern: str, new: str) -> Checkpoint:
    r"""Give the tensors that match a new name, as `Checkpoint.rename` does; slots follow their variables.

    A slot whose name begins otherwise has its variable's name replaced where that stands in it.

    >>> import numpy as np
    >>> names = ["hidden1/kernel", "hidden1/kernel/Momentum", "Adam/m/hidden1/kernel"]
    >>> list(rename(Checkpoint.of(dict.fromkeys(names, np.zeros(2))), r"hidden(\d)", r"layer\1"))
    ['layer1/kernel', 'layer1/kernel/Momentum', 'Adam/m/layer1/kernel']

    Raises:
        UnknownName: nothing matches.
        PlanError: two tensors would have one name, or one none.
    """
    names = named(ckpt)
    rules = {old: new for new, old in renamed(names, {pattern: new}).items()}
    for slot, owner in owners(ckpt).items():
        if rules[slot] == slot and rules[owner] != owner:
            rules[slot] = _following(slot, owner, rules[owner])
    return _renamed(ckpt, rules)


def add_prefix(ckpt: Checkpoint, prefix: str) -> Checkpoint:
    """Put a scope before every name: `model`, or `model/`, makes `model/hidden1/kernel`.

    >>> import numpy as np
    >>> list(add_prefix(Checkpoint.of({"hidden1/kernel": np.zeros(2)}), "model"))
    ['model/hidden1/kernel']

    Raises:
        PlanError: the prefix is empty.
    """
    return _renamed(ckpt, {name: _scope(prefix) + name for name in named(ckpt)})


def strip_prefix(ckpt: Checkpoint, prefix: str) -> Checkpoint:
    """Take a scope off every name.

    >>> import numpy as np
    >>> list(strip_prefix(Checkpoint.of({"model/hidden1/kernel": np.zeros(2)}), "model/"))
    ['hidden1/kernel']

    Raises:
        UnknownName: no name begins with it.
        PlanError: some do not, or the prefix is empty.
    """
    scope, names = _scope(prefix), named(ckpt)
    without = [name for name in names if not name.startswith(scope)]
    if len(without) == len(names):
        raise UnknownName(f"no name begins with {scope}{suggestion(prefix, names)}")
    if without:
        raise PlanError(
            f"{len(without)} names do not begin with {scope}, {without[0]} among them; "
            f"--rename '{scope}(.*)=>\\1' renames the others"
        )
    return _renamed(ckpt, {name: name.removeprefix(scope) for name in names})


def _with_slots(ckpt: Checkpoint, pattern: str) -> set[str]:
    """Return what a pattern takes of all tensors, with the slots of the variables among it."""
    found = set(Pattern(pattern).select(named(ckpt)))
    return found | {slot for slot, owner in owners(ckpt).items() if owner in found}


def _following(slot: str, owner: str, new: str) -> str:
    """Return a slot's name with its variable's new name in it.

    >>> _following("train/fc/kernel/Adam", "fc/kernel", "out/kernel"), _following("adam/v", "fc/kernel", "out/kernel")
    ('train/out/kernel/Adam', 'adam/v')
    """
    before, found, after = f"/{slot}/".rpartition(f"/{owner}/")
    return f"{before}/{new}/{after}".strip("/") if found else slot


def _renamed(ckpt: Checkpoint, names: dict[str, str]) -> Checkpoint:
    """Return the checkpoint with new names (old -> new); what is not among them keeps its own."""
    tensors: dict[str, Tensor] = {}
    olds: dict[str, str] = {}
    for name, tensor in ckpt.items():
        new = names.get(name, name)
        if not new.strip("/") or new != new.strip("/"):
            raise PlanError(f"{name} would be named {new!r}: a name begins and ends with a component")
        if new in olds:
            raise PlanError(f"{olds[new]} and {name} would both be named {new}")
        tensors[new], olds[new] = (tensor if new == name else tensor.renamed(new)), name
    return ckpt.holding(tensors, olds)


def _scope(prefix: str) -> str:
    scope = prefix.rstrip("/")
    if not scope:
        raise PlanError("the prefix is empty")
    return f"{scope}/"
