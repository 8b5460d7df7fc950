"""Export-saved-model: a model as a SavedModel that TensorFlow 1 and 2 load."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError
from ckpttool.data.preprocessing_steps import Nothing
from ckpttool.formats import registry
from ckpttool.formats.tensorflow.prefix import is_saved_model
from ckpttool.formats.writing.files import refuse_existing_folder
from ckpttool.graph.contents.preprocessing import with_preprocessing_text
from ckpttool.graph.contents.signatures import DEFAULT
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.resource import to_resource
from ckpttool.graph.rewrite.savers import with_saver
from ckpttool.graph.rewrite.serving import serving_part, switched_off
from ckpttool.graph.rewrite.signing import require_fed, signature_of, signed
from ckpttool.lineage.provenance import Command
from ckpttool.model.families import write_folder
from ckpttool.model.model import Model
from ckpttool.model.rewrite_plan import RewritePlan, keys_of
from ckpttool.runtime.preprocessing import with_preprocessing_ops
from ckpttool.training.preprocessing import kept_steps, written
from ckpttool.training.wanted import placeholder_spec
from ckpttool.verbs.inputs import with_preprocessed_inputs


@dataclass(frozen=True, repr=False)
class SavedModelPlan(RewritePlan):
    """The part of a model that its outputs need, with a signature."""

    @property
    def done(self) -> str:
        """A statement about the written output."""
        signature = next(iter(self.graph.header.signature_def))
        return f"written and read back, signature {signature}, {counted(len(self.keys), 'variable')}"

    def check(self, output: str | Path, overwrite: bool = False) -> None:
        """Check that the output can be written.

        Raises:
            ExistingOutput: it exists.
            PlanError: it has the suffix of a file, and a SavedModel is a folder.
        """
        if suffix := registry.suffix_of_files(Path(output)):
            named = Path(output).with_suffix("")
            raise PlanError(f"{output}: a SavedModel is a folder, and {suffix} is the suffix of files: name it {named}")
        refuse_existing_folder(Path(output), overwrite, is_saved_model)

    def write(self, output: str | Path, overwrite: bool = False, command: Command | None = None) -> None:
        """Write the folder atomically, and read it back.

        Raises:
            ExistingOutput: the output exists.
            CorruptCheckpoint: what was read back differs.
        """
        command = command or Command.of_call("export-saved-model", self.model.path, output)
        made_of = self.model.provenance
        write_folder(self.graph, self.values, Path(output), overwrite, self.model.path, made_of, command)


def plan_saved_model(
    model: Model,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    signature: str = DEFAULT,
    preprocess: str | None = None,
    with_preprocessing: bool = False,
) -> SavedModelPlan:
    """Plan what `export-saved-model` writes; nothing is written before the plan's `write`.

    TensorFlow is needed for `with_preprocessing` only.

    Inputs or outputs that are not specified are determined by `graph.roles.served`. Reference variables become
    resource variables, as TensorFlow 2 requires. A training-mode placeholder without a default is False unless fed.

    Args:
        model: The model to rewrite.
        inputs: The tensors to feed, also as NAME=TENSOR; others than placeholders become placeholders.
        outputs: The tensors to compute, also as NAME=TENSOR.
        signature: The name of the signature.
        preprocess: The preprocessing of rows (`scale(1/127.5, -1)`), if not the one stored in the model.
        with_preprocessing: Whether to preprocess in the graph, so that callers pass raw rows.

    Raises:
        UnknownName: an input or output does not exist in the graph.
        GraphError: the outputs are ambiguous, or an op has no equivalent for resource variables.
        PlanError: a placeholder is not fed, a variable is missing in the checkpoint, or there is no preprocessing.
    """
    found = serving_part(model.graph, inputs, outputs, signature)
    serving, notes = found.served, found.notes
    require_fed(found.part, serving)
    part, changed = with_preprocessed_inputs(found.part, preprocess, fed=list(serving.inputs.values()))
    if with_preprocessing:
        part, raw = _with_raw_inputs(part, list(serving.inputs.values()))
        changed += raw
    bare = with_saver(to_resource(importable(switched_off(part, serving.fed))))
    graph = signed(bare, {signature: signature_of(part, serving)})
    return SavedModelPlan(model, graph, keys_of(model, graph), serving, (*notes, *changed))


def _with_raw_inputs(part: Graph, fed: Sequence[str]) -> tuple[Graph, list[str]]:
    """Return a graph that preprocesses its inputs itself, and stores that none is left to do."""
    specs = [placeholder_spec(part, tensor) for tensor in fed]
    steps = kept_steps(part, specs, None)
    if not steps:
        usual = "`preprocess` specifies it, as scale(1/255), which is done to bytes where nothing is said"
        raise PlanError(f"{part.source}: no preprocessing is kept to put into the graph; {usual}")
    changed, notes = with_preprocessing_ops(part, steps)
    return with_preprocessing_text(changed, written(dict.fromkeys(steps, (Nothing(),)), specs)), notes
