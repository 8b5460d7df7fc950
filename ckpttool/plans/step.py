"""What a step of a plan is: its table of TOML, what it works on, and what it took."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import FormatError, UnknownName
from ckpttool.core.names import listed, suggestion
from ckpttool.lineage.derivation import AS, ON
from ckpttool.plans.assertions import Checks
from ckpttool.plans.script import PLACE, Entry
from ckpttool.surgery.edits.steps import Edited
from ckpttool.surgery.merging.agreement import JoinedCheckpoints

NUMBER, TEXT, TRUTH, LIST = (int, float), (str,), (bool,), (list,)
LARGEST = (1 << 63) - 1
"""A number of a plan: TOML has none larger, though Python reads them."""


@dataclass
class Stage:
    """The checkpoints of a plan before its next step, and as each began; which was worked on last; what was noticed.

    `flaws` fill while tensors are read, and `checks` wait for that. `vocabularies` has the tokens of checkpoints whose
    rows were merged token by token.
    """

    checkpoints: dict[str, Edited]
    begun: dict[str, Checkpoint]
    current: str
    checks: Checks = field(default_factory=Checks)
    flaws: list[dict[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    vocabularies: dict[str, Mapping[str, int]] = field(default_factory=dict)

    def edited(self, name: str) -> Edited:
        """Return a checkpoint by its name.

        Raises:
            UnknownName: there is none.
        """
        if name not in self.checkpoints:
            known = ", ".join(self.checkpoints)
            raise UnknownName(f"no checkpoint is named {name}{suggestion(name, self.checkpoints)}; known: {known}")
        return self.checkpoints[name]

    def put(self, name: str, edited: Edited, begun: Checkpoint, vocabulary: Mapping[str, int] | None = None) -> None:
        """Give a checkpoint a name; the next step works on it."""
        self.checkpoints[name], self.begun[name], self.current = edited, begun, name
        self.vocabularies[name] = vocabulary or {}

    def join(self, name: str, joined: JoinedCheckpoints, step: str) -> None:
        """Give the checkpoint that several became a name."""
        tensors = joined.tensors.holding(dict(joined.tensors)).made_of(joined.tensors.provenance.noting(step))
        self.flaws.append(joined.flaws)
        self.notes += joined.notes
        self.put(name, Edited(tensors, dict.fromkeys(tensors, (step,))), tensors, joined.vocabulary)


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
        """Check the keys of a table, and the types of values; a name in braces stands for a variable of any.

        Raises:
            UnknownName: one has no meaning to the step.
            FormatError: a value is of another type.
        """
        known = {**self.keys, ON: TEXT, AS: TEXT}
        for key, value in entry.table.items():
            if key not in known:
                raise UnknownName(f"{entry.place}: {key} has no meaning here{suggestion(key, known)}")
            if type(value) not in known[key] and not (isinstance(value, str) and PLACE.fullmatch(value)):
                kinds = " or ".join(kind.__name__ for kind in known[key])
                raise FormatError(f"{entry.place}: {key} is {value!r}, expected {kinds}")
            if type(value) in NUMBER and not abs(value) <= LARGEST:  # NaN compares with nothing
                raise FormatError(f"{entry.place}: {key} is {value!r:.40}, expected a finite number of at most 64 bits")

    @abstractmethod
    def apply(self, entry: Entry, stage: Stage) -> Taken:
        """Do it.

        Raises:
            CkptError: it takes nothing, is refused, or an assertion does not hold.
        """


def numbers_of(entry: Entry, key: str) -> tuple[float, ...]:
    """Return a list of numbers."""
    values = entry.table[key]
    if not all(type(value) is float or (type(value) is int and abs(value) <= LARGEST) for value in values):
        raise FormatError(f"{entry.place}: {key} is {values!r:.80}, expected numbers of at most 64 bits")
    return tuple(values)


def texts_of(entry: Entry, key: str) -> tuple[str, ...]:
    """Return a list of texts."""
    values = entry.table[key]
    if not all(isinstance(value, str) for value in values):
        raise FormatError(f"{entry.place}: {key} is {values!r}, expected a list of names")
    return tuple(values)
