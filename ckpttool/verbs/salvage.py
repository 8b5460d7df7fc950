"""Salvage: write the readable tensors of a damaged checkpoint, and list what is lost."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError
from ckpttool.core.notebooks import ShownPlan
from ckpttool.formats import registry
from ckpttool.lineage.provenance import Command
from ckpttool.surgery.salvage import Salvaged
from ckpttool.surgery.salvage import salvage as surgery
from ckpttool.surgery.verify import Damage


@dataclass(frozen=True, repr=False)
class SalvagePlan(ShownPlan):
    """The plan: the readable tensors of a damaged checkpoint, the format, and what is lost."""

    path: Path
    salvaged: Salvaged
    to: str
    lost: tuple[Damage, ...]

    @property
    def whole(self) -> bool:
        """Whether nothing is lost."""
        return not self.lost

    @property
    def rows(self) -> list[dict[str, str]]:
        """What is lost, and why."""
        return [{"name": each.name, "problem": each.why} for each in self.lost]

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return {
            "path": str(self.path),
            "format": self.salvaged.format,
            "to": self.to,
            "saved": list(self.salvaged.tensors),
            "lost": self.rows,
        }

    def summary(self, output: Path | None = None) -> str:
        """Return the outcome as one line of text."""
        saved = f"{counted(len(self.salvaged.tensors), 'tensor')} can be read"
        if output is not None:
            saved = f"{output}: {counted(len(self.salvaged.tensors), 'tensor')} written and read back"
        return f"{saved}, {len(self.lost)} lost" if self.lost else f"{saved}; nothing is lost"

    def write(self, output: Path, overwrite: bool = False, command: Command | None = None) -> None:
        """Write the tensors atomically; see `checkpoint.save` for errors."""
        checkpoint.save(self.salvaged.tensors, output, self.to, overwrite, command=command)


def plan_salvage(path: Path, output: Path | None = None, to: str | None = None) -> SalvagePlan:
    """Return what can be read of a damaged checkpoint; every tensor is read and checked.

    Tensors that the output's format cannot store are lost too, if there is an output or a format.

    Raises:
        MissingFile: the path does not exist.
        CorruptCheckpoint: nothing can be read.
        FormatError: it is not a checkpoint, or the format cannot be written.
    """
    salvaged = surgery(path)
    lost = [*salvaged.lost, *_missing(path, salvaged)]
    if output is None and to is None:
        return SalvagePlan(path, salvaged, salvaged.format, tuple(lost))
    target = registry.for_output(output or Path(), to)
    tensors = checkpoint.storable(salvaged.tensors, target)
    homeless = {name: why for name in tensors if (why := target.why_not(tensors[name]))}
    lost += [Damage(name, f"{target.NAME} cannot hold it: it is {why}") for name, why in homeless.items()]
    kept = tensors.only(set(tensors) - homeless.keys())
    return SalvagePlan(path, Salvaged(kept, salvaged.lost, salvaged.format), target.NAME, tuple(lost))


def _missing(path: Path, salvaged: Salvaged) -> list[Damage]:
    """Return the names in the saver of the graph beside a checkpoint that were neither found nor reported as lost."""
    if salvaged.format != "bundle" or not salvaged.lost:
        return []
    from ckpttool.graph.contents.savers import saved_names
    from ckpttool.model.resolve import graph_beside

    try:
        graph = graph_beside(checkpoint.prefix_of(path))
        names = saved_names(graph) if graph is not None else set()
    except CkptError:
        return []
    known = {*salvaged.tensors, *(each.name for each in salvaged.lost)}
    why = "the graph's saver names it, and its entry is in no whole block of the index"
    return [Damage(name, why) for name in sorted(names - known)]
