"""Export-saved-model: a model as a SavedModel that TensorFlow 1 and 2 load, written without TensorFlow."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ckpttool.formats.tensorflow.saved_model import is_saved_model
from ckpttool.formats.writing.files import refuse_existing_folder
from ckpttool.graph.contents.signatures import DEFAULT
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.resource import to_resource
from ckpttool.graph.rewrite.savers import with_saver
from ckpttool.graph.rewrite.serving import serving_part, switched_off
from ckpttool.graph.rewrite.signing import require_fed, signature_of, signed
from ckpttool.lineage.provenance import Command
from ckpttool.model.families import write_folder
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
        made_of = self.model.provenance
        write_folder(self.graph, self.values, Path(output), overwrite, self.model.path, made_of, command)


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
    graph = signed(bare, {signature: signature_of(part, serving)})
    return SavedModelPlan(model, graph, keys_of(model, graph), serving, found.notes)
