"""The `assert` step of a plan, which changes nothing: conditions on names, shapes, dtypes and values."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import FormatError, PlanError
from ckpttool.core.names import listed
from ckpttool.core.patterns import Pattern
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Tensor
from ckpttool.lineage.derivation import AS, ON
from ckpttool.plans.assertions import Finite, Near, Norm, Watch, require_shape
from ckpttool.plans.script import Entry
from ckpttool.plans.step import LIST, NUMBER, TEXT, TRUTH, PlanState, PlanStep, Taken, numbers_of, texts_of
from ckpttool.surgery.edits.edit import named, taken


class AssertStep(PlanStep):
    """Conditions on the weights that match a pattern; values are checked while they are written."""

    keys: ClassVar[Mapping[str, tuple[type, ...]]] = {
        "assert": TEXT,
        "slots": TRUTH,
        "count": (int,),
        "exactly": LIST,
        "shape": LIST,
        "dtype": TEXT,
        "finite": TRUTH,
        "norm": LIST,
        "equals": TEXT,
        "within": NUMBER,
    }

    def apply(self, entry: Entry, state: PlanState) -> Taken:
        """Check names, shapes and dtypes at once, and attach checks of values to the tensors."""
        table, on = entry.table, entry.table.get(ON, state.current)
        edited = state.edited(on)
        names = self._names(entry, edited.tensors)
        if "within" in table and "equals" not in table:
            raise FormatError(f"{entry.place}: within is how far from `equals`, which is not there")
        tensors = dict(edited.tensors)
        other = state.edited(table["equals"]).tensors if "equals" in table else None
        for name in names:
            if "shape" in table:
                require_shape(tensors[name], table["shape"], entry.place)
            if "dtype" in table and table["dtype"] != tensors[name].dtype.name:
                raise PlanError(f"{entry.place}: {name} is {tensors[name].dtype}, expected {table['dtype']}")
            for what, begin, peer in self._watches(entry, tensors[name], other):
                tensors[name] = state.checks.on(tensors[name], begin, f"{entry.place}, {what}", peer)
        held = edited.tensors.holding(tensors).after(f"assert {table['assert']}", _step(entry, other))
        state.checkpoints[on] = replace(edited, tensors=held)
        return Taken(f"assert {table['assert']}", on, tuple(names))

    def _watches(
        self, entry: Entry, tensor: Tensor, other: Checkpoint | None
    ) -> Iterator[tuple[str, Callable[[], Watch], Tensor | None]]:
        """Yield the conditions on values: the name, a factory of its watch, and the tensor to compare with, or None."""
        if entry.table.get("finite"):
            yield "finite", Finite, None
        if "norm" in entry.table:
            yield "norm", partial(Norm, *_bounds(entry)), None
        if other is not None:
            near = partial(Near, entry.table.get("within", 0), entry.table["equals"])
            yield "equals", near, _peer(entry, tensor, other)

    def _names(self, entry: Entry, tensors: Checkpoint) -> list[str]:
        """Return the names that match, after comparing them with the expected count and list."""
        table = entry.table
        known = named(tensors) if table.get("slots") else taken(tensors, None)
        pattern = Pattern(table["assert"])
        names = [name for name in known if pattern.matches(name)]
        if "count" in table and len(names) != table["count"]:
            found = f"{counted(len(names), 'tensor')}{f' ({listed(names)})' if names else ''}"
            raise PlanError(f"{entry.place}: {table['assert']!r} matches {found}, expected {table['count']}")
        if "exactly" in table:
            expected = set(texts_of(entry, "exactly"))
            lacking, more = expected - set(names), set(names) - expected
            parts = [f"{what} {listed(sorted(which))}" for what, which in (("not", lacking), ("also", more)) if which]
            if parts:
                raise PlanError(f"{entry.place}: {table['assert']!r} takes {' and '.join(parts)}")
        if not names and table.get("count") != 0:
            pattern.select(known)  # raises an error with the nearest names
        return names


def _step(entry: Entry, other: Checkpoint | None) -> dict[str, Any] | None:
    """Return the step for the lineage, with the derivation of the other checkpoint; None if that has none."""
    table = {key: value for key, value in entry.table.items() if key not in (ON, AS)}
    if other is not None:
        table["equals"] = other.provenance.derivation
    return None if other is not None and other.provenance.derivation is None else table


def _bounds(entry: Entry) -> tuple[float, float]:
    bounds = numbers_of(entry, "norm")
    if len(bounds) != 2:
        raise FormatError(f"{entry.place}: norm is {list(bounds)}, expected the lowest and the highest: [0.1, 10]")
    return bounds[0], bounds[1]


def _peer(entry: Entry, tensor: Tensor, other: Checkpoint) -> Tensor:
    """Return the tensor of the same name and shape in another checkpoint."""
    name, label = tensor.name, entry.table["equals"]
    if name not in other:
        raise PlanError(f"{entry.place}: {label} has no {name}{suggestion(name, other)}")
    if other[name].shape != tensor.shape:
        shapes = f"{list(tensor.shape)}, in {label} {list(other[name].shape)}"
        raise PlanError(f"{entry.place}: {name} has the shape {shapes}")
    return other[name]
