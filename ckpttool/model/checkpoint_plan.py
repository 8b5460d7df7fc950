"""The plan of a checkpoint: the tensors that will be written, in which format, and the graph that goes along."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError
from ckpttool.formats import registry
from ckpttool.formats.format import PLAIN, Writing
from ckpttool.formats.writing.files import refuse_existing, refuse_existing_folder
from ckpttool.lineage.provenance import Command
from ckpttool.surgery.convert import left_behind, with_texts

if TYPE_CHECKING:
    from ckpttool.graph.core import Graph
    from ckpttool.surgery.merging.agreement import JoinedCheckpoints


@dataclass(frozen=True)
class CheckpointPlan:
    """A checkpoint that will be written in the format `to`, with a graph where one goes along: a model then.

    `flaws` fills while the tensors are read: what came out that is no finite number, by name.
    """

    tensors: Checkpoint
    to: str
    rows: Sequence[Any] = ()
    notes: Sequence[str] = ()
    how: Writing = PLAIN
    graph: "Graph | None" = None
    flaws: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_combined(cls, combined: "JoinedCheckpoints", output: Path | None, notes: Sequence[str]) -> Self:
        """Plan to write what several checkpoints became; without an `output` the plan is only shown."""
        tensors = combined.tensors
        if output is None:
            return cls(tensors, "", combined.rows, (*notes, *combined.notes))
        target = registry.for_output(output)
        graph, behind = graph_alongside(tensors, target.NAME)
        notes = (*notes, *combined.notes, *left_behind(tensors, target), *behind)
        stored = checkpoint.storable(tensors, target)
        return cls(stored, target.NAME, combined.rows, notes, with_texts(tensors, target), graph, combined.flaws)

    @property
    def nbytes(self) -> int:
        """The bytes of the tensors that will be written; those of strings are not counted."""
        return sum(spec.nbytes for spec in self.tensors.specs())

    @property
    def done(self) -> str:
        """What is true of the output afterwards."""
        graph = f", with the graph of {self.graph.source}" if self.graph else ""
        return f"written and read back, {len(self.tensors)} tensors ({self.nbytes} bytes){graph}"

    def as_json(self) -> list[dict[str, Any]]:
        """Return the plan as JSON, a row for every tensor."""
        return [dict(row) for row in self.rows]

    def check(self, output: str | Path, overwrite: bool = False) -> None:
        """Check that the output may be written; what a format refuses besides, `write` raises before it writes.

        Raises:
            ExistingOutput: it is there already.
            CkptError: it is a folder, and a file or a prefix is written.
        """
        if self.to == "saved-model":
            from ckpttool.formats.tensorflow.saved_model import is_saved_model

            refuse_existing_folder(Path(output), overwrite, is_saved_model)
        elif Path(output).is_dir():
            raise CkptError(f"{output} is a folder, expected a prefix or a file such as {Path(output) / 'model.ckpt'}")
        elif self.to == "bundle":
            prefix = str(output).removesuffix(".index")
            suffixes = (".meta", ".index") if self.graph else (".index",)
            refuse_existing([Path(f"{prefix}{suffix}") for suffix in suffixes], overwrite)
        else:
            refuse_existing([Path(output)], overwrite)

    def write(self, output: str | Path, overwrite: bool = False, command: Command | None = None) -> list[str]:
        """Write the tensors and the graph, whole or not at all; return which of them are not finite.

        Raises:
            ExistingOutput: the output is there already.
            CkptError: a value does not fit into its new dtype.
        """
        if self.graph and self.to == "saved-model":
            from ckpttool.model.families import Contents, SavedModelWriter

            contents = Contents(self.graph, self.tensors, command=command)
            written = SavedModelWriter(Path(self.graph.source)).write(contents, Path(output), overwrite)
            return [*written.notes, *self.flaws.values()]
        if self.graph:
            from ckpttool.model.model import write_model

            prefix = str(output).removesuffix(".index")
            noticed = write_model(self.graph, self.tensors, prefix, overwrite, self.how, command=command)
            return [*noticed, *self.flaws.values()]
        checkpoint.save(self.tensors, output, self.to, overwrite, self.how, command)
        return list(self.flaws.values())


def graph_alongside(tensors: Checkpoint, to: str) -> "tuple[Graph | None, list[str]]":
    """Return the graph of the `.meta` beside the checkpoint that tensors are from, where it goes with them.

    It does into a bundle that has all that its saver restores. Otherwise the note says that it is left behind.
    """
    meta = Path(f"{tensors.path}.meta")
    if tensors.path is None or not meta.is_file() or to == "saved-model":
        return None, []
    behind = f"the graph beside {tensors.path} does not come along"
    if to != "bundle":
        return None, [f"{behind}: the output is a checkpoint alone"]
    from ckpttool.graph import files
    from ckpttool.graph.contents.savers import saved_names
    from ckpttool.graph.contents.stored import stored_tensors

    graph = files.load(meta)
    missing = [name for name in saved_names(graph) or stored_tensors(graph) if name not in tensors]
    return (None, [f"{behind}: the output lacks its {missing[0]}"]) if missing else (graph, [])
