"""Export-saved-model: a model as a SavedModel that TensorFlow 1 and 2 load, written without TensorFlow."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint, PlanError
from ckpttool.core.names import listed
from ckpttool.formats import registry
from ckpttool.formats.format import PLAIN
from ckpttool.formats.tensorflow.saved_model import ASSETS, is_saved_model, write_saved_model
from ckpttool.formats.writing.files import refuse_existing_folder
from ckpttool.graph import files
from ckpttool.graph.contents.signatures import DEFAULT
from ckpttool.graph.core import Graph
from ckpttool.graph.ops import PLACEHOLDERS
from ckpttool.graph.rewrite.collections import ASSETS as ASSETS_KEY
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.resource import to_resource
from ckpttool.graph.rewrite.savers import with_saver
from ckpttool.graph.rewrite.serving import serving_part, signature_of, signed, switched_off
from ckpttool.graph.roles.placeholders import mode_placeholders
from ckpttool.graph.roles.served import Served
from ckpttool.lineage.provenance import Command, carried
from ckpttool.model.model import Model
from ckpttool.model.rewrite_plan import RewritePlan, keys_of


@dataclass(frozen=True)
class SavedModelPlan(RewritePlan):
    """The part of a model that its outputs need, with a signature."""

    @property
    def done(self) -> str:
        """What is true of the output afterwards."""
        signature = next(iter(self.graph.header.signature_def))
        return f"written and read back, signature {signature}, {len(self.keys)} variables"

    def check(self, output: str | Path, overwrite: bool = False) -> None:
        """Check that the output may be written.

        Raises:
            ExistingOutput: it is there already.
        """
        refuse_existing_folder(Path(output), overwrite, is_saved_model)

    def write(self, output: str | Path, overwrite: bool = False, command: Command | None = None) -> None:
        """Write the folder, whole or not at all, and read it back.

        Raises:
            ExistingOutput: the output is there already.
            CorruptCheckpoint: what was read back is not what was meant.
        """
        command = command or Command.of_call("export-saved-model", self.model.path, output)
        self.check(output, overwrite)
        target = registry.get("saved-model")
        lineage = carried(self.model.provenance, command, Path(output), target, PLAIN) if self.values else nullcontext()
        with lineage:
            write_saved_model(self.graph.meta, self.values, Path(output), _assets(self.model, self.graph))
        names = set(checkpoint.open(output)) if self.values else set()
        if names != set(self.values) or files.load(output).meta != self.graph.meta:
            raise CorruptCheckpoint(f"{output}: what was read back is not what was written")


def plan_saved_model(
    model: Model, inputs: Sequence[str] = (), outputs: Sequence[str] = (), signature: str = DEFAULT
) -> SavedModelPlan:
    """Plan what `export-saved-model` writes; nothing is written before the plan's `write`. No TensorFlow is needed.

    Where inputs or outputs are not given, `graph.roles.served` says what they are. Reference variables become
    resource variables, which TensorFlow 2 needs. A training switch without a default is off unless it is fed.

    Args:
        model: What is rewritten.
        inputs: The tensors that are fed, also as NAME=TENSOR; one that is no placeholder becomes one.
        outputs: The tensors that are asked for, also as NAME=TENSOR.
        signature: The name of the signature.

    Raises:
        UnknownName: an input or output is not in the graph.
        GraphError: several tensors could be the outputs, or an op has no form for resource variables.
        PlanError: a placeholder is not fed, or the checkpoint lacks a variable.
    """
    found = serving_part(model.graph, inputs, outputs, signature)
    part, serving = found.part, found.served
    require_fed(part, serving)
    bare = with_saver(to_resource(importable(switched_off(part, serving.fed))))
    graph = signed(bare, signature, signature_of(part, serving))
    return SavedModelPlan(model, graph, keys_of(model, graph), serving, found.notes)


def require_fed(graph: Graph, served: Served) -> None:
    """Check that every placeholder of a part is fed, has a default, or is a training switch, which is off then.

    Raises:
        PlanError: one is not; the message names it and the way out.
    """
    bare = PLACEHOLDERS - {"PlaceholderWithDefault"}
    fed = served.fed.union(mode_placeholders(graph))
    unfed = [name for name, node in graph.nodes.items() if node.op in bare and name not in fed]
    if unfed:
        raise PlanError(
            f"{graph.source}: the outputs need {listed(unfed)}, which no input feeds and no default; "
            f"specify `inputs` with all that is fed, or other `outputs`"
        )


def _assets(model: Model, graph: Graph) -> Path | None:
    """Return the folder of the files that a graph's tables read, where it comes from a SavedModel."""
    folder = model.path / ASSETS
    named = graph.header.asset_file_def or ASSETS_KEY in graph.header.collection_def
    return folder if named and folder.is_dir() else None
