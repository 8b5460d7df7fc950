"""Exporting: a model as a SavedModel that TensorFlow 1 and 2 load, written without TensorFlow."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.formats import registry
from ckpttool.formats.format import PLAIN
from ckpttool.formats.tensorflow.new_saved_model import ASSETS, write_saved_model
from ckpttool.formats.tensorflow.saved_model import is_saved_model
from ckpttool.formats.writing.files import refuse_existing_folder
from ckpttool.graph import files
from ckpttool.graph.contents.signatures import DEFAULT
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.collections import ASSETS as ASSETS_KEY
from ckpttool.graph.rewrite.defaults import switched_off
from ckpttool.graph.rewrite.fresh_saver import with_saver
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.resource import to_resource
from ckpttool.graph.rewrite.serving import serving_part
from ckpttool.graph.rewrite.signing import signature_of, signed
from ckpttool.graph.roles.served import served
from ckpttool.lineage import recording
from ckpttool.model.model import Model
from ckpttool.verbs.rewriting import Rewriting, Size, require_fed, values_of


@dataclass(frozen=True)
class Exporting(Rewriting):
    """The part of a model that its outputs need, with a signature."""

    @property
    def done(self) -> str:
        """What will have been done."""
        return f"signature {next(iter(self.graph.header.signature_def))}, {self.size.variables} variables"

    def check(self, output: str | Path, overwrite: bool = False) -> None:
        """Check that the output may be written.

        Raises:
            ExistingOutput: it is there already.
        """
        refuse_existing_folder(Path(output), overwrite, is_saved_model)

    def write(self, output: str | Path, overwrite: bool = False) -> None:
        """Write the folder, whole or not at all, and read it back.

        Raises:
            ExistingOutput: the output is there already.
            CorruptCheckpoint: what was read back is not what was meant.
        """
        self.check(output, overwrite)
        carried = recording.carried(Path(output), registry.get("saved-model"), PLAIN) if self.values else nullcontext()
        with carried:
            write_saved_model(self.graph.meta, self.values, Path(output), _assets(self.model, self.graph))
        found = set(checkpoint.open(output)) if self.values else set()
        if found != set(self.values) or files.load(output).meta != self.graph.meta:
            raise CorruptCheckpoint(f"{output}: what was read back is not what was written")


def plan_saved_model(
    model: Model, inputs: Sequence[str] = (), outputs: Sequence[str] = (), signature: str = DEFAULT
) -> Exporting:
    """Plan what `export-saved-model` writes; nothing is written before the plan's `write`. No TensorFlow is needed.

    `served` says what inputs and outputs are where they are not given. Reference variables become resource variables,
    which TensorFlow 2 needs. A training switch without a default is off unless it is fed.

    Raises:
        UnknownName: an input or output is not in the graph.
        GraphError: several tensors could be the outputs, or an op has no form for resource variables.
        PlanError: a placeholder is not fed, or the checkpoint lacks a variable.
    """
    part, found = serving_part(model.graph, served(model.graph, inputs, outputs, signature))
    require_fed(part, found)
    bare = with_saver(to_resource(importable(switched_off(part, found.fed))))
    graph = signed(bare, signature, signature_of(part, found))
    values = values_of(model, graph)
    return Exporting(model, graph, values, found, Size.of(graph, values), ())


def _assets(model: Model, graph: Graph) -> Path | None:
    """Return the folder of the files that a graph's tables read, where it comes from a SavedModel."""
    folder = model.path / ASSETS
    named = graph.header.asset_file_def or ASSETS_KEY in graph.header.collection_def
    return folder if named and folder.is_dir() else None
