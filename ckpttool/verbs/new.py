"""New: a newly initialised model from a description of its layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ckpttool.core.calls import require_made
from ckpttool.core.counts import counted
from ckpttool.data.class_files import Classes
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.lineage.provenance import Command
from ckpttool.model.families import Contents, writer_for
from ckpttool.model.plan import ModelPlan, PlanRow, plan_rows
from ckpttool.runtime.build import new_graph
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.spec import parse
from ckpttool.runtime.state import fresh_tensors
from ckpttool.training.outputs import with_named_outputs
from ckpttool.verbs.inputs import with_preprocessed_inputs


@dataclass(frozen=True, repr=False)
class NewPlan(ModelPlan):
    """The newly initialised network to write, with a row for each of its variables."""

    graph: Graph
    seed: int
    to: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> list[PlanRow]:
        """The plan, a row per weight."""
        return plan_rows(self.graph, {})

    @property
    def done(self) -> str:
        """A statement about the written output."""
        return f"written and read back, {counted(len(self.rows), 'tensor')} newly initialised"

    def write(self, output: str | Path, overwrite: bool = False, command: Command | None = None) -> Sequence[str]:
        """Write the graph and the initial values of its variables, and read both back.

        Raises:
            ExistingOutput: the output exists.
            CorruptCheckpoint: what was read back differs.
        """
        command = command or Command("new", ("-o", str(output)))
        values = fresh_tensors(self.graph, stored_tensors(self.graph), self.seed)
        return self.writer(output).write(Contents(self.graph, values, command=command), Path(output), overwrite).notes


def plan_new(
    input_shape: Sequence[int],
    layers: str,
    *,
    recipe: Recipe | None = None,
    seed: int = 42,
    objective: Objective | None = None,
    classes: Classes = None,
    to: str | None = None,
    preprocess: str | None = None,
) -> NewPlan:
    """Plan a newly initialised network; nothing is written before the plan's `write`.

    Args:
        input_shape: The shape of one row, without the batch dimension: `[784]`.
        layers: The layers from the input to the logits (SPEC).
        recipe: The optimizer and its settings.
        seed: The random seed of the initialisers.
        objective: The loss and the metrics.
        classes: The class names, or the file that contains them.
        to: The family to write: `ckpt`, `saved-model`, `keras`; else that of the output's path.
        preprocess: The preprocessing of rows: `scale(1/127.5, -1)`.

    Raises:
        PlanError: if the layers are not valid SPEC, or do not fit one another.
        DataError: if the number of class names differs from that of outputs.
    """
    require_made("`recipe`", recipe, Recipe)
    require_made("`objective`", objective, Objective)
    graph = new_graph(input_shape, parse(layers), recipe or Recipe(), objective or Objective(), seed)
    graph, _ = with_preprocessed_inputs(with_named_outputs(graph, classes), preprocess)
    return NewPlan(graph, seed, to)


def new(
    input_shape: Sequence[int],
    layers: str,
    output: str | Path,
    *,
    recipe: Recipe | None = None,
    seed: int = 42,
    overwrite: bool = False,
    objective: Objective | None = None,
    command: Command | None = None,
    classes: Classes = None,
    to: str | None = None,
    preprocess: str | None = None,
) -> list[PlanRow]:
    """Write a newly initialised network to `output`; return its variables as a plan.

    `command` is recorded in the output's lineage; the other arguments are those of `plan_new`.

    Raises:
        CkptError: the errors of `plan_new` and of the plan's `write`; if the output exists, nothing is built.
    """
    writer_for("", output, to).check(Path(output), overwrite)
    plan = plan_new(
        input_shape,
        layers,
        recipe=recipe,
        seed=seed,
        objective=objective,
        classes=classes,
        to=to,
        preprocess=preprocess,
    )
    plan.write(output, overwrite, command)
    return plan.rows
