"""The plan of a checkpoint: the tensors to write, the format, and the graph written with them, if any."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, PlanError
from ckpttool.core.notebooks import ShownPlan
from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.formats import registry
from ckpttool.formats.format import PLAIN, Writing
from ckpttool.formats.writing.files import refuse_existing, refuse_existing_folder, replacing
from ckpttool.lineage.output import staged_output
from ckpttool.lineage.provenance import Command
from ckpttool.model.resolve import graph_path
from ckpttool.surgery.convert import left_behind, with_texts

if TYPE_CHECKING:
    from ckpttool.graph.core import Graph
    from ckpttool.surgery.merging.agreement import JoinedCheckpoints


VOCABULARY = ".vocab.json"
"""How the name of the file ends that has the tokens of an output."""
FORMATS = {"ckpt": "bundle", "saved-model": "saved-model"}
"""The formats of checkpoints by the family of models."""
KERAS_SUFFIXES = {"keras": ".keras", "keras-weights": ".weights.h5", "keras-legacy": ".h5"}
"""The suffixes that Keras requires, by format."""


@dataclass(frozen=True, repr=False)
class CheckpointPlan(ShownPlan):
    """A checkpoint to be written in the format `to`; with a graph, a model.

    `flaws` is filled while the tensors are read: notes on non-finite results, by name. `vocabulary` has the tokens of
    rows that were merged token by token; it is written beside the output.
    """

    tensors: Checkpoint
    to: str
    rows: Sequence[Any] = ()
    notes: Sequence[str] = ()
    how: Writing = PLAIN
    graph: "Graph | None" = None
    flaws: Mapping[str, str] = field(default_factory=dict)
    vocabulary: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of_combined(
        cls, combined: "JoinedCheckpoints", output: Path | None, notes: Sequence[str], to: str | None = None
    ) -> Self:
        """Plan to write the combination of several checkpoints; without an `output` the plan is only shown.

        The format is that of the last one's family, unless the output or `to` specifies another (`format_to_write`).
        """
        tensors = combined.tensors
        if output is None:
            return cls(tensors, "", combined.rows, (*notes, *combined.notes))
        target = registry.get(format_to_write(tensors, True, output, to))
        graph, behind = graph_alongside(tensors, target.NAME)
        if graph and combined.resized:
            graph, behind = (
                None,
                [f"the graph beside {tensors.path} does not come along: its {combined.resized[0]} has another shape"],
            )
        notes = (*notes, *combined.notes, *left_behind(tensors, target), *behind)
        stored, how = checkpoint.storable(tensors, target), with_texts(tensors, target)
        told = (combined.flaws, combined.vocabulary)
        return cls(stored, target.NAME, combined.rows, notes, how, graph, *told)

    @property
    def nbytes(self) -> int:
        """The bytes of the tensors to write, without string tensors."""
        return sum(spec.nbytes for spec in self.tensors.specs())

    @property
    def done(self) -> str:
        """A statement about the written output."""
        graph = f", with the graph of {self.graph.source}" if self.graph else ""
        tokens = f", its tokens beside it ({VOCABULARY})" if self.vocabulary else ""
        what = f"{counted(len(self.tensors), 'tensor')} ({counted(self.nbytes, 'byte')})"
        return f"written and read back, {what}{graph}{tokens}"

    def as_json(self) -> list[dict[str, Any]]:
        """Return the plan as JSON, with a row per tensor."""
        return [dict(row) for row in self.rows]

    def check(self, output: str | Path, overwrite: bool = False) -> None:
        """Check that the output can be written; `write` raises what a format itself refuses, before it writes.

        Raises:
            ExistingOutput: it exists.
            CkptError: it is a folder, but a file or a prefix would be written.
        """
        refuse_existing(self._beside(Path(output)), overwrite)
        if self.to == "saved-model":
            from ckpttool.formats.tensorflow.prefix import is_saved_model

            refuse_existing_folder(Path(output), overwrite, is_saved_model)
        elif Path(output).is_dir():
            raise CkptError(f"{output} is a folder, expected a prefix or a file such as {Path(output) / 'model.ckpt'}")
        elif self.to == "bundle":
            prefix = str(output).removesuffix(".index")
            suffixes = (".meta", ".index") if self.graph else (".index",)
            refuse_existing([Path(f"{prefix}{suffix}") for suffix in suffixes], overwrite)
        else:
            refuse_existing([Path(output)], overwrite)

    def outputs(self, output: Path) -> list[Path]:
        """Return the files that belong to an output path."""
        meta = [Path(f"{str(output).removesuffix('.index')}.meta")] if self.graph and self.to == "bundle" else []
        return [*registry.get(self.to).outputs(output), *meta, *self._beside(output)]

    def _beside(self, output: Path) -> list[Path]:
        return [vocabulary_beside(output)] if self.vocabulary else []

    def write(self, output: str | Path, overwrite: bool = False, command: Command | None = None) -> list[str]:
        """Write the tensors, the graph and the tokens atomically; return notes on non-finite values.

        Raises:
            ExistingOutput: the output exists.
            CkptError: a value cannot be represented in its new dtype.
        """
        if not self.vocabulary:
            return self._write(output, overwrite, command)
        with staged_output(Path(output), self, overwrite) as place:
            noticed = self._write(place, False, command)
            with replacing(vocabulary_beside(place)) as file:
                file.write(f"{json.dumps(self.vocabulary, ensure_ascii=False, indent=0)}\n".encode())
        return noticed

    def _write(self, output: str | Path, overwrite: bool, command: Command | None) -> list[str]:
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


def vocabulary_beside(output: Path) -> Path:
    """Return the path of an output's vocabulary.

    >>> str(vocabulary_beside(Path("both.safetensors")))
    'both.safetensors.vocab.json'
    """
    return Path(f"{str(output).removesuffix('.index')}{VOCABULARY}")


def format_to_write(
    source: Checkpoint, with_graph: bool, output: Path, to: str | None = None, like: Path | None = None
) -> str:
    """Return the format to write: that specified by `to`, else by the output's path, else that of the source's family.

    The family of a model is that of the source (`model/families.py`); `to` may also name a family.

    Raises:
        CkptError: `to` is unknown.
        FormatError: the output has the suffix of a format that cannot be written.
        PlanError: the format is Keras's, but the output does not have its suffix.
    """
    found = registry.for_output(output, FORMATS.get(to or "", to), like).NAME
    path = source.path
    if not with_graph or to is not None or like is not None or found != "bundle" or path is None:
        return found
    meta, suffix = graph_path(path), KERAS_SUFFIXES.get(source.format or "")
    if meta is None and suffix is None:
        return found
    from ckpttool.model.families import family_of  # importing it takes as long as most edits without a graph

    family = family_of(meta or path.with_suffix(".keras"), output)
    if family == "keras":
        named, alone = output.with_name(f"{output.name}{suffix}"), output.with_name(f"{output.name}.ckpt")
        raise PlanError(
            f"{output}: {path} is a file of Keras, which are known by their suffix: name it {named}, or "
            f"{alone} for a checkpoint of the weights"
        )
    return FORMATS[family]


def graph_alongside(tensors: Checkpoint, to: str) -> "tuple[Graph | None, list[str]]":
    """Return the graph of the `.meta` beside the source checkpoint, if it is written too, and notes.

    It is written with a bundle that has all that its saver restores; that of a TensorFlow 1 SavedModel too.
    Otherwise a note says that it is not written.
    """
    meta = graph_path(tensors.path)
    if tensors.format == "keras" and to not in ("keras", "tfjs"):
        return None, [f"the network of {tensors.path} is not written: the output is a checkpoint without a graph"]
    if meta is None or to == "saved-model" or meta == tensors.path:
        return None, []
    behind = f"the graph of {tensors.path} is not written"
    if to != "bundle" or (meta.suffix != ".meta" and OBJECT_GRAPH in tensors):
        return None, [f"{behind}: the output is a checkpoint without a graph"]
    from ckpttool.graph import files
    from ckpttool.graph.contents.savers import saved_names
    from ckpttool.graph.contents.stored import stored_tensors

    graph = files.load(meta)
    missing = [name for name in saved_names(graph) or stored_tensors(graph) if name not in tensors]
    return (None, [f"{behind}: the output lacks its {missing[0]}"]) if missing else (graph, [])
