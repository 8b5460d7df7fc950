"""New: a fresh model from a description of its layers."""

from collections.abc import Sequence
from pathlib import Path

from ckpttool.data.class_files import Classes
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.lineage.provenance import Command
from ckpttool.model.families import Contents, writer_for
from ckpttool.model.plan import PlanRow, plan_rows
from ckpttool.runtime.build import new_graph
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.spec import parse
from ckpttool.runtime.state import fresh_tensors
from ckpttool.verbs.inputs import with_preprocessed_inputs
from ckpttool.verbs.outputs import with_named_outputs


def new(
    input_shape: Sequence[int],
    layers: str,
    output: str | Path,
    recipe: Recipe | None = None,
    seed: int = 42,
    overwrite: bool = False,
    objective: Objective | None = None,
    command: Command | None = None,
    classes: Classes = None,
    to: str | None = None,
    preprocess: str | None = None,
) -> list[PlanRow]:
    """Write a network with freshly initialised layers; return its variables as a plan.

    Args:
        input_shape: The shape of one row, without the rows' own dimension: `[784]`.
        layers: The layers from the input to the logits (SPEC).
        output: The prefix to write.
        recipe: The optimizer and what goes with it.
        seed: The random seed of the initialisers.
        overwrite: Replace the output where it exists.
        objective: The loss and the figures.
        command: What stands in the output's lineage as what made it.
        classes: Names of the classes that the outputs are for, or the file that has them.
        to: The family to write: `ckpt`, `saved-model`, `keras`, where the output's path does not say it.
        preprocess: What is done to rows before the network sees them: `scale(1/127.5, -1)`.

    Raises:
        PlanError: the layers are not in the language of SPEC, or do not fit one another.
        DataError: there are not as many names of classes as outputs.
        ExistingOutput: the output is there already.
    """
    command = command or Command("new", ("-o", str(output)))
    writer = writer_for("", output, to)
    writer.check(Path(output), overwrite)
    graph = new_graph(input_shape, parse(layers), recipe or Recipe(), objective or Objective(), seed)
    graph, _ = with_preprocessed_inputs(with_named_outputs(graph, classes), preprocess)
    contents = Contents(graph, fresh_tensors(graph, stored_tensors(graph), seed), command=command)
    writer.write(contents, Path(output), overwrite)
    return plan_rows(graph, {})
