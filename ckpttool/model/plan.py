"""The plan: what a command will do to each variable, shown before it is done."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import Any, Protocol

from ckpttool.core.errors import PlanError
from ckpttool.core.names import Pattern, layer_of, listed
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.graph.freezing.frozen import changed_variables


@dataclass(frozen=True)
class PlanRow:
    """One weight: where its value comes from (None: it starts fresh), and whether it will be trained."""

    layer: str
    target: str
    shape: tuple[int, ...]
    source: str | None
    train: bool

    def as_json(self) -> dict[str, Any]:
        """Return the row as `--json` prints it."""
        return asdict(self) | {"shape": list(self.shape)}


class Writing(Protocol):
    """What a verb will write, made before anything is written: shown with `--plan`, carried out by `write`."""

    @property
    def notes(self) -> Sequence[str]:
        """What a user should know besides."""

    @property
    def done(self) -> str:
        """What will have been done, for a person: `6 tensors restored`."""

    def check(self, output: str | Path, overwrite: bool = False) -> None:
        """Raise what can be raised before anything is shown: an output that exists."""

    def write(self, output: str | Path, overwrite: bool = False) -> None:
        """Write it and read it back."""


class Planned(Writing, Protocol):
    """What a verb will do to each weight of the model that it writes under a prefix."""

    @property
    def rows(self) -> Sequence[PlanRow]:
        """What becomes of each weight."""


def prefix_note(pattern: Pattern, names: Iterable[str]) -> list[str]:
    """Say which names TensorFlow's own scope selection would take besides, where it would."""
    more = pattern.prefix_only(names)
    return [f"TensorFlow's prefix match would also take {listed(more)}"] if more else []


def plan_rows(graph: Graph, sources: Mapping[str, str], frozen: Collection[str] = ()) -> list[PlanRow]:
    """Return a row per weight; `sources` has the checkpoint name that a restored one comes from.

    Moving averages, which no gradient changes, count as trained where something updates them.
    """
    changed = changed_variables(graph)
    return [
        PlanRow(
            layer_of(name),
            name,
            stored.shape or (),
            sources.get(name),
            name not in frozen and (stored.trainable or any(member.op in changed for member in stored.members)),
        )
        for name, stored in stored_tensors(graph).items()
        if stored.kind == "weight"
    ]


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
        raise PlanError(f"{share:.1f}% of the parameters are restored, {percent:g}% required; fresh: {fresh}")
