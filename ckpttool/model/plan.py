"""The plan: what a verb will write, shown before it is written; and the rows of plans that fill a model's weights."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol

from ckpttool.core.errors import PlanError
from ckpttool.core.names import Pattern, layer_of
from ckpttool.core.notebooks import ShownPlan
from ckpttool.core.notes import notes_about
from ckpttool.graph.contents.initialisers import initialising_file
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.graph.freezing.moving_averages import changed_variables
from ckpttool.graph.ops import RESTORES
from ckpttool.lineage.provenance import Command
from ckpttool.model.families import ModelWriter, writer_for


class Row(Protocol):
    """A row of a plan that has more to it than what people are shown."""

    def cells(self) -> Mapping[str, Any]:
        """Return the row as people are shown it; the keys are the columns."""

    def as_json(self) -> Mapping[str, Any]:
        """Return the row as JSON."""


class Plan(Protocol):
    """What a verb will write. Nothing is written before `write`; all that will be lost is in `notes`.

    Every verb that writes returns one, and the command line's `execute` shows, checks and writes it.
    """

    @property
    def rows(self) -> Sequence[Row | Mapping[str, Any]]:
        """What will become of each weight, tensor or measure."""

    @property
    def notes(self) -> Sequence[str]:
        """What is lost or left out, and what else a user should know before anything is written."""

    @property
    def done(self) -> str:
        """What is true of the output afterwards: `written and read back, 6 tensors restored`."""

    def as_json(self) -> Any:
        """Return the plan as JSON."""

    def check(self, output: str | Path, overwrite: bool = False) -> None:
        """Raise what can be raised before anything is shown: that the output exists."""

    def write(
        self, output: str | Path, overwrite: bool = False, command: Command | None = None
    ) -> Sequence[str] | None:
        """Write the output and read it back; return what was noticed on the way, if anything was.

        `command` stands in the output's lineage as what made it; by default the verb.
        """


@dataclass(frozen=True)
class PlanRow:
    """One weight: where its value comes from (None: it starts fresh), and whether it will be trained.

    What no gradient changes, and other ops do, `moves`: a batch normalisation's averages. A `rate` is there
    where layers have rates of their own.
    """

    layer: str
    target: str
    shape: tuple[int, ...]
    source: str | None
    train: bool
    moves: bool = False
    rate: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the row as JSON."""
        row = asdict(self) | {"shape": list(self.shape)}
        del row["moves"]
        if self.rate is None:
            del row["rate"]
        return row

    def cells(self) -> dict[str, Any]:
        """Return the row as people are shown it."""
        value = "newly initialised" if self.source is None else f"restored from {self.source}"
        trained = "trained" if self.rate is None else f"trained at {self.rate:g}"
        then = ("moves along" if self.moves else trained) if self.train else "frozen"
        return {"layer": self.layer, "variable": self.target, "shape": self.shape, "value": value, "then": then}


class _OfModel(Protocol):
    @property
    def rows(self) -> Sequence[Row]: ...

    @property
    def graph(self) -> Graph: ...

    @property
    def to(self) -> str | None: ...

    def writer(self, output: str | Path) -> ModelWriter: ...


class ModelPlan(ShownPlan):
    """What the plans have in common that write a model: a `graph`, `rows`, one for each weight, the family `to` write.

    Without a `to` the output's path and the graph's file say the family (`families.family_of`).
    """

    def as_json(self: _OfModel) -> list[dict[str, Any]]:
        """Return the plan as JSON."""
        return [dict(row.as_json()) for row in self.rows]

    def writer(self: _OfModel, output: str | Path) -> ModelWriter:
        """Return what writes the output.

        Raises:
            PlanError: `to` is no family.
        """
        return writer_for(self.graph.source, output, self.to)

    def check(self: _OfModel, output: str | Path, overwrite: bool = False) -> None:
        """Check that the output may be written.

        Raises:
            ExistingOutput: it is there already.
        """
        self.writer(output).check(Path(output), overwrite, self.graph)


def prefix_note(pattern: Pattern, names: Iterable[str]) -> list[str]:
    """Say which names TensorFlow's own scope selection would take besides, where it would."""
    return notes_about("TensorFlow's prefix match would also take", pattern.prefix_only(names))


def plan_rows(graph: Graph, sources: Mapping[str, str], frozen: Collection[str] = ()) -> list[PlanRow]:
    """Return a row per weight; `sources` has the checkpoint name that a restored one comes from.

    Moving averages, which no gradient changes, count as trained where something updates them.
    """
    changed = changed_variables(graph)
    return [
        PlanRow(
            layer_of(stored.own_name),
            name,
            stored.shape or (),
            sources.get(name),
            name not in frozen and (stored.trainable or any(member.op in changed for member in stored.members)),
            not stored.trainable,
        )
        for name, stored in stored_tensors(graph).items()
        if stored.kind == "weight"
    ]


def file_notes(graph: Graph, fresh: Collection[str]) -> list[str]:
    """Say which variables start by their first initialisers, since the graph's own would read files."""
    members = [(name, stored.members[0]) for name, stored in stored_tensors(graph).items() if name in fresh]
    files = {name: initialising_file(graph, member) for name, member in members if not RESTORES & graph.allowed}
    things = [f"{name} ({file})" for name, file in files.items() if file is not None]
    return notes_about("newly initialised by its first initialiser, not from the file in the graph", things)


def require_coverage(rows: Iterable[PlanRow], percent: float) -> None:
    """Check how much of a model is restored, in parameters.

    Raises:
        PlanError: less than `percent`; the message names what starts fresh.
    """
    rows = list(rows)
    total = sum(prod(row.shape) for row in rows)
    restored = sum(prod(row.shape) for row in rows if row.source is not None)
    share = 100 * restored / total if total else 100.0
    if share < percent:
        fresh = ", ".join(row.target for row in rows if row.source is None)
        raise PlanError(
            f"{share:.1f}% of the parameters are restored, {percent:g}% required; newly initialised: {fresh}"
        )
