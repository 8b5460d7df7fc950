"""The steps of a plan: edits, merges, averages and assertions; a class each, which does what a table of TOML says."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import FormatError, PlanError, UnknownName
from ckpttool.core.names import Pattern, listed, suggestion
from ckpttool.core.tensors import Tensor
from ckpttool.surgery.average import plan_average
from ckpttool.surgery.edits import EDITS
from ckpttool.surgery.edits.edit import named, taken
from ckpttool.surgery.edits.steps import Edited, Step
from ckpttool.surgery.merge import plan_merge
from ckpttool.surgery.merging.agreement import JoinedCheckpoints
from ckpttool.surgery.plans.assertions import Checks, Finite, Near, Norm, Watch, require_shape
from ckpttool.surgery.plans.script import LOOP, Entry

ON, AS = "on", "as"
"""The keys of any step: the checkpoint that it works on, and what its result is called."""
NUMBER, TEXT, TRUTH, LIST = (int, float), (str,), (bool,), (list,)


@dataclass
class Stage:
    """The checkpoints of a plan before its next step, and as each began; which was worked on last; what was noticed.

    `flaws` fill while tensors are read, and `checks` wait for that.
    """

    checkpoints: dict[str, Edited]
    begun: dict[str, Checkpoint]
    current: str
    checks: Checks = field(default_factory=Checks)
    flaws: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def edited(self, name: str) -> Edited:
        """Return a checkpoint by its name.

        Raises:
            UnknownName: there is none.
        """
        if name not in self.checkpoints:
            known = ", ".join(self.checkpoints)
            raise UnknownName(f"no checkpoint is named {name}{suggestion(name, self.checkpoints)}; there are {known}")
        return self.checkpoints[name]

    def put(self, name: str, edited: Edited, begun: Checkpoint) -> None:
        """Give a checkpoint a name; the next step works on it."""
        self.checkpoints[name], self.begun[name], self.current = edited, begun, name

    def join(self, name: str, joined: JoinedCheckpoints, step: str) -> None:
        """Give the checkpoint that several became a name."""
        tensors = joined.tensors.holding(dict(joined.tensors)).after(step)
        self.flaws.append(joined.flaws)
        self.notes += joined.notes
        self.put(name, Edited(tensors, dict.fromkeys(tensors, (step,))), tensors)


@dataclass(frozen=True)
class Taken:
    """A step that was done, on which checkpoint, and the names of the tensors that it took."""

    step: str
    on: str
    names: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {"step": self.step, "on": self.on, "takes": len(self.names), "tensors": list(self.names)}

    def cells(self) -> dict[str, Any]:
        """Return it as people are shown it."""
        return {"step": self.step, "on": self.on, "takes": len(self.names), "tensors": listed(self.names, 3)}


class PlanStep(ABC):
    """A kind of step: the keys that its table may have beside `on`, `as` and `for`, and the types of their values."""

    keys: ClassVar[Mapping[str, tuple[type, ...]]]

    def check(self, entry: Entry) -> None:
        """Check the keys of a table.

        Raises:
            UnknownName: one has no meaning to the step.
            FormatError: a value is of another type.
        """
        known = {**self.keys, ON: TEXT, AS: TEXT}
        for key, value in entry.table.items():
            if key not in known:
                raise UnknownName(f"{entry.place}: {key} has no meaning here{suggestion(key, known)}")
            if type(value) not in known[key]:
                kinds = " or ".join(kind.__name__ for kind in known[key])
                raise FormatError(f"{entry.place}: {key} is {value!r}, expected {kinds}")

    @abstractmethod
    def apply(self, entry: Entry, stage: Stage) -> Taken:
        """Do it.

        Raises:
            CkptError: it takes nothing, is refused, or an assertion does not hold.
        """


class EditStep(PlanStep):
    """An edit of a checkpoint, by its name in `EDITS`; underscores may stand for hyphens."""

    keys: ClassVar[Mapping[str, tuple[type, ...]]] = {
        **dict.fromkeys(EDITS, (str, bool)),
        **{name.replace("-", "_"): (str, bool) for name in EDITS},
        "slots": TRUTH,
        "allow_truncate": TRUTH,
        "seed": (int,),
    }

    def apply(self, entry: Entry, stage: Stage) -> Taken:
        """Edit it."""
        key = next(iter(edits_of(entry)))
        value, on = entry.table[key], entry.table.get(ON, stage.current)
        if value is False:
            raise FormatError(f"{entry.place}: {key} is false, expected a text, or true where an edit takes no value")
        step = Step(key.replace("_", "-"), "" if value is True else value, entry.place)
        before = stage.edited(on)
        after = before.then(step, entry.table)
        stage.put(entry.table.get(AS, on), after, stage.begun[on])
        changed = [name for name, tensor in after.tensors.items() if before.tensors.get(name) is not tensor]
        return Taken(str(step), on, (*changed, *(name for name in after.dropped if name not in before.dropped)))


class MergeStep(PlanStep):
    """Several checkpoints merged, as `merge` does it."""

    keys: ClassVar[Mapping[str, tuple[type, ...]]] = {
        "merge": LIST,
        "how": TEXT,
        "prefer": TEXT,
        "base": TEXT,
        "weights": LIST,
        "t": NUMBER,
        "density": NUMBER,
        "seed": (int,),
        "lenient": TRUTH,
    }

    def apply(self, entry: Entry, stage: Stage) -> Taken:
        """Merge them; the result has the name of the last unless `as` gives another."""
        sources = _named_sources(entry, "merge", stage)
        options = {key: value for key, value in entry.table.items() if key not in ("merge", ON, AS)}
        shown = " ".join(f"{key}={value}" for key, value in options.items())
        if "base" in options:
            options["base"] = stage.edited(options["base"]).tensors
        if "weights" in options:
            options["weights"] = _numbers(entry, "weights")
        joined = plan_merge(list(sources.values()), **options)
        stage.join(entry.table.get(AS, list(sources)[-1]), joined, f"merge {','.join(sources)} {shown}".strip())
        return Taken(f"merge {shown}".strip(), ", ".join(sources), tuple(joined.tensors))


class AverageStep(PlanStep):
    """The average of several checkpoints, as `average` computes it."""

    keys: ClassVar[Mapping[str, tuple[type, ...]]] = {
        "average": LIST,
        "weights": LIST,
        "decay": NUMBER,
        "lenient": TRUTH,
    }

    def apply(self, entry: Entry, stage: Stage) -> Taken:
        """Average them; the result has the name of the last unless `as` gives another."""
        sources = _named_sources(entry, "average", stage)
        options = {key: value for key, value in entry.table.items() if key not in ("average", ON, AS)}
        if "weights" in options:
            options["weights"] = _numbers(entry, "weights")
        joined = plan_average(list(sources.values()), **options)
        stage.join(entry.table.get(AS, list(sources)[-1]), joined, f"average {','.join(sources)}")
        return Taken("average", ", ".join(sources), tuple(joined.tensors))


class AssertStep(PlanStep):
    """What must be true of the weights that a pattern takes; values are checked while they are written."""

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

    def apply(self, entry: Entry, stage: Stage) -> Taken:
        """Check what is known without values, and have the rest checked."""
        table, on = entry.table, entry.table.get(ON, stage.current)
        edited = stage.edited(on)
        names = self._names(entry, edited.tensors)
        tensors = dict(edited.tensors)
        other = stage.edited(table["equals"]).tensors if "equals" in table else None
        for name in names:
            if "shape" in table:
                require_shape(tensors[name], table["shape"], entry.place)
            if "dtype" in table and table["dtype"] != tensors[name].dtype.name:
                raise PlanError(f"{entry.place}: {name} is {tensors[name].dtype}, expected {table['dtype']}")
            for what, begin, peer in self._watches(entry, tensors[name], other):
                tensors[name] = stage.checks.on(tensors[name], begin, f"{entry.place}, {what}", peer)
        held = edited.tensors.holding(tensors).after(f"assert {table['assert']}")
        stage.checkpoints[on] = replace(edited, tensors=held)
        return Taken(f"assert {table['assert']}", on, tuple(names))

    def _watches(
        self, entry: Entry, tensor: Tensor, other: Checkpoint | None
    ) -> Iterator[tuple[str, Callable[[], Watch], Tensor | None]]:
        """Yield what is asserted of a tensor's values, what finds that out, and the tensor to compare it with."""
        if entry.table.get("finite"):
            yield "finite", Finite, None
        if "norm" in entry.table:
            yield "norm", partial(Norm, *_bounds(entry)), None
        if other is not None:
            near = partial(Near, entry.table.get("within", 0), entry.table["equals"])
            yield "equals", near, _peer(entry, tensor, other)

    def _names(self, entry: Entry, tensors: Checkpoint) -> list[str]:
        """Return the names that are taken, held against their count and their list."""
        table = entry.table
        known = named(tensors) if table.get("slots") else taken(tensors, None)
        pattern = Pattern(table["assert"])
        names = [name for name in known if pattern.matches(name)]
        if "count" in table and len(names) != table["count"]:
            found = f"{counted(len(names), 'tensor')}{f' ({listed(names)})' if names else ''}"
            raise PlanError(f"{entry.place}: {table['assert']!r} takes {found}, expected {table['count']}")
        if "exactly" in table:
            lacking, more = set(table["exactly"]) - set(names), set(names) - set(table["exactly"])
            parts = [f"{what} {listed(sorted(which))}" for what, which in (("not", lacking), ("also", more)) if which]
            if parts:
                raise PlanError(f"{entry.place}: {table['assert']!r} takes {' and '.join(parts)}")
        if not names and table.get("count") != 0:
            pattern.select(known)  # which raises with the nearest names
        return names


def _named_sources(entry: Entry, key: str, stage: Stage) -> dict[str, Checkpoint]:
    """Return the checkpoints that a list names, in its order."""
    names = entry.table[key]
    if not all(isinstance(name, str) for name in names):
        raise FormatError(f"{entry.place}: {key} is {names!r}, expected a list of names")
    return {name: stage.edited(name).tensors for name in names}


def _bounds(entry: Entry) -> tuple[float, float]:
    bounds = _numbers(entry, "norm")
    if len(bounds) != 2:
        raise FormatError(f"{entry.place}: norm is {list(bounds)}, expected the lowest and the highest: [0.1, 10]")
    return bounds[0], bounds[1]


def _numbers(entry: Entry, key: str) -> tuple[float, ...]:
    """Return a list of numbers."""
    values = entry.table[key]
    if not all(type(value) in NUMBER for value in values):
        raise FormatError(f"{entry.place}: {key} is {values!r}, expected numbers")
    return tuple(values)


def _peer(entry: Entry, tensor: Tensor, other: Checkpoint) -> Tensor:
    """Return the tensor of the same name and shape in another checkpoint."""
    name, label = tensor.name, entry.table["equals"]
    if name not in other:
        raise PlanError(f"{entry.place}: {label} has no {name}{suggestion(name, other)}")
    if other[name].shape != tensor.shape:
        shapes = f"{list(tensor.shape)}, in {label} {list(other[name].shape)}"
        raise PlanError(f"{entry.place}: {name} has the shape {shapes}")
    return other[name]


def edits_of(entry: Entry) -> list[str]:
    """Return the keys of a step that are edits."""
    return [key for key in entry.table if key.replace("_", "-") in EDITS]


KINDS: Mapping[str, PlanStep] = {
    "edit": EditStep(),
    "merge": MergeStep(),
    "average": AverageStep(),
    "assert": AssertStep(),
}
"""The kinds of steps by their key; an edit has its own name in the place of `edit`."""


def kind_of(entry: Entry) -> PlanStep:
    """Return the kind of a step, whose keys are checked.

    Raises:
        FormatError: it is no step, or two.
        UnknownName: a key has no meaning.
    """
    keys = [*edits_of(entry), *(key for key in entry.table if key in KINDS and key != "edit")]
    if len(keys) != 1:
        given = " and ".join(keys) or listed(list(entry.table)) or "nothing"
        near = "" if keys else suggestion(next(iter(entry.table), ""), [*EDITS, *KINDS])
        raise FormatError(f"{entry.place}: expected one edit, merge, average or assert, found {given}{near}")
    kind = KINDS.get(keys[0], KINDS["edit"])
    kind.check(Entry({key: value for key, value in entry.table.items() if key != LOOP}, entry.place))
    return kind
