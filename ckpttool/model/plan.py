"""Plans: what a verb will write, shown before it is written; and the rows of plans of models."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol

from ckpttool.core.errors import PlanError
from ckpttool.core.names import layer_of
from ckpttool.core.notebooks import ShownPlan
from ckpttool.core.notes import notes_about
from ckpttool.core.patterns import Pattern
from ckpttool.graph.contents.initialisers import initialising_file
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.graph.freezing.moving_averages import changed_variables
from ckpttool.graph.ops import RESTORES
from ckpttool.lineage.provenance import Command
from ckpttool.model.families import ModelWriter, writer_for


class Row(Protocol):
    """A row of a plan with more content than is displayed."""

    def cells(self) -> Mapping[str, Any]:
        """Return the row as displayed; the keys are the columns."""

    def as_json(self) -> Mapping[str, Any]:
        """Return the row as JSON."""


class Plan(Protocol):
    """What a verb will write. Nothing is written before `write`; everything that will be lost is in `notes`.

    Every verb that writes returns a plan, and the command line's `execute` shows, checks and writes it.
    """

    @property
    def rows(self) -> Sequence[Row | Mapping[str, Any]]:
        """What will happen to each weight, tensor or measure."""

    @property
    def notes(self) -> Sequence[str]:
        """What will be lost or skipped, and other notes for the user before anything is written."""

    @property
    def done(self) -> str:
        """A statement about the written output: `written and read back, 6 tensors restored`."""

    def as_json(self) -> Any:
        """Return the plan as JSON."""

    def check(self, output: str | Path, overwrite: bool = False) -> None:
        """Check what can be checked before anything is shown, such as whether the output exists."""

    def write(
        self, output: str | Path, overwrite: bool = False, command: Command | None = None
    ) -> Sequence[str] | None:
        """Write the output and read it back; return notes, if any.

        `command` is recorded in the output's lineage; by default the verb.
        """


@dataclass(frozen=True)
class PlanRow:
    """A weight: the source of its value (None: newly initialised), and whether it will be trained.

    `moves` marks weights that ops update without a gradient: the moving averages of batch normalisation. `rate` is set
    if layers have learning rates of their own.
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
        """Return the row as displayed."""
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
    """The base class of plans that write a model: a `graph`, `rows`, one for each weight, and the family `to` write.

    Without `to` the family depends on the output's path and the graph's file (`families.family_of`).
    """

    def as_json(self: _OfModel) -> list[dict[str, Any]]:
        """Return the plan as JSON."""
        return [dict(row.as_json()) for row in self.rows]

    def writer(self: _OfModel, output: str | Path) -> ModelWriter:
        """Return the writer of the output.

        Raises:
            PlanError: `to` is not a family.
        """
        return writer_for(self.graph.source, output, self.to)

    def check(self: _OfModel, output: str | Path, overwrite: bool = False) -> None:
        """Check that the output may be written.

        Raises:
            ExistingOutput: it exists.
        """
        self.writer(output).check(Path(output), overwrite, self.graph)


def prefix_note(pattern: Pattern, names: Iterable[str]) -> list[str]:
    """Return a note on the names that TensorFlow's own scope selection would match besides, if any."""
    return notes_about("TensorFlow's prefix match would also take", pattern.prefix_only(names))


def plan_rows(graph: Graph, sources: Mapping[str, str], frozen: Collection[str] = ()) -> list[PlanRow]:
    """Return a row per weight; `sources` has the checkpoint name of each restored one.

    Moving averages count as trained if an op updates them.
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
    """Return notes on variables that use their first initialisers, because the graph's own would read files."""
    members = [(name, stored.members[0]) for name, stored in stored_tensors(graph).items() if name in fresh]
    files = {name: initialising_file(graph, member) for name, member in members if not RESTORES & graph.allowed}
    things = [f"{name} ({file})" for name, file in files.items() if file is not None]
    return notes_about("newly initialised by its first initialiser, not from the file in the graph", things)


def require_coverage(rows: Iterable[PlanRow], percent: float) -> None:
    """Check the fraction of a model's parameters that is restored.

    Raises:
        PlanError: it is less than `percent`; the message names what is newly initialised.
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
