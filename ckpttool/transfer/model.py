"""A model: a graph with its checkpoint, opened together and written together."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.errors import CorruptCheckpoint, PlanError
from ckpttool.formats.files import refuse_existing
from ckpttool.graph import files
from ckpttool.graph.graph import Graph
from ckpttool.graph.variables import Variable, variables
from ckpttool.tensors import Tensor


@dataclass(frozen=True)
class Model:
    """A graph and the values of its variables, by checkpoint name."""

    path: Path
    graph: Graph
    checkpoint: checkpoint.Checkpoint

    @classmethod
    def open(cls, path: str | Path) -> "Model":
        """Open a prefix with its `.meta`, or a SavedModel folder.

        Raises:
            MissingFile: the graph or the checkpoint is not there.
        """
        return cls(Path(path), files.load(path), checkpoint.open(path))

    @property
    def variables(self) -> dict[str, Variable]:
        """The graph's variables by checkpoint name."""
        return variables(self.graph)


def outputs_of(prefix: Path) -> list[Path]:
    """Return the files that mark a model under a prefix."""
    return [Path(f"{prefix}{suffix}") for suffix in (".meta", ".index")]


def write_model(graph: Graph, tensors: Mapping[str, Tensor], output: Path, overwrite: bool) -> None:
    """Write a graph and the values of all its variables under a prefix, and check what was written.

    Raises:
        ExistingOutput: the prefix is taken and `overwrite` is not set.
        PlanError: a variable of the graph has no value.
        CorruptCheckpoint: what was read back differs.
    """
    refuse_existing(outputs_of(output), overwrite)
    expected = variables(graph)
    missing = [name for name in expected if name not in tensors]
    if missing:
        raise PlanError(f"{output}: no value for {', '.join(missing[:5])}")
    output.parent.mkdir(parents=True, exist_ok=True)
    files.save(graph, Path(f"{output}.meta"), overwrite=overwrite)
    checkpoint.save({name: tensors[name] for name in expected}, output, format="bundle", overwrite=overwrite)
    written = checkpoint.open(output)
    if set(written) != set(expected) or set(variables(files.load(output))) != set(expected):
        raise CorruptCheckpoint(f"{output}: what was read back does not have the tensors that were written")
