"""The base class of steps, the state of a plan that they change, and the record of what each step matched."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import FormatError, UnknownName
from ckpttool.core.names import listed
from ckpttool.core.suggestions import suggestion
from ckpttool.lineage.derivation import AS, ON
from ckpttool.plans.assertions import Checks
from ckpttool.plans.script import PLACE, Entry
from ckpttool.surgery.edits.steps import Edited
from ckpttool.surgery.merging.agreement import JoinedCheckpoints

NUMBER, TEXT, TRUTH, LIST = (int, float), (str,), (bool,), (list,)
LARGEST = (1 << 63) - 1
"""The largest integer of a plan: TOML has 64 bits, although Python parses larger ones."""


@dataclass
class PlanState:
    """The state of a plan between steps: checkpoints by name, the sources they started from, the current one, notes.

    `flaws` are filled while tensors are read, `checks` are pending until then. `vocabularies` has the tokens of
    checkpoints whose vocabularies were aligned by a merge.
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
            UnknownName: no checkpoint has the name.
        """
        if name not in self.checkpoints:
            known = ", ".join(self.checkpoints)
            raise UnknownName(f"no checkpoint is named {name}{suggestion(name, self.checkpoints)}; known: {known}")
        return self.checkpoints[name]

    def put(self, name: str, edited: Edited, begun: Checkpoint, vocabulary: Mapping[str, int] | None = None) -> None:
        """Store a checkpoint under a name, and make it the current one."""
        self.checkpoints[name], self.begun[name], self.current = edited, begun, name
        self.vocabularies[name] = vocabulary or {}

    def join(self, name: str, joined: JoinedCheckpoints, step: str) -> None:
        """Store the result of a merge or an average under a name, and make it the current one."""
        tensors = joined.tensors.holding(dict(joined.tensors)).made_of(joined.tensors.provenance.noting(step))
        self.flaws.append(joined.flaws)
        self.notes += joined.notes
        self.put(name, Edited(tensors, dict.fromkeys(tensors, (step,))), tensors, joined.vocabulary)


@dataclass(frozen=True)
class Taken:
    """An executed step: its text, the checkpoint that it was applied to, and the tensors that it matched."""

    step: str
    on: str
    names: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {"step": self.step, "on": self.on, "takes": len(self.names), "tensors": list(self.names)}

    def cells(self) -> dict[str, Any]:
        """Return the cells of its row in a table."""
        return {"step": self.step, "on": self.on, "takes": len(self.names), "tensors": listed(self.names, 3)}


class PlanStep(ABC):
    """A kind of step; `keys` are those of its table besides `on`, `as` and `for`, with the types of their values."""

    keys: ClassVar[Mapping[str, tuple[type, ...]]]

    def check(self, entry: Entry) -> None:
        """Check the keys of a table and the types of its values; a variable in braces may have any type.

        Raises:
            UnknownName: a key is unknown.
            FormatError: a value has another type.
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
    def apply(self, entry: Entry, state: PlanState) -> Taken:
        """Execute the step, and return what it matched.

        Raises:
            CkptError: it matches nothing or is refused, or an assertion fails.
        """


def numbers_of(entry: Entry, key: str) -> tuple[float, ...]:
    """Return a list of numbers from a step's table, or raise a FormatError."""
    values = entry.table[key]
    if not all(type(value) is float or (type(value) is int and abs(value) <= LARGEST) for value in values):
        raise FormatError(f"{entry.place}: {key} is {values!r:.80}, expected numbers of at most 64 bits")
    return tuple(values)


def texts_of(entry: Entry, key: str) -> tuple[str, ...]:
    """Return a list of texts from a step's table, or raise a FormatError."""
    values = entry.table[key]
    if not all(isinstance(value, str) for value in values):
        raise FormatError(f"{entry.place}: {key} is {values!r}, expected a list of names")
    return tuple(values)
