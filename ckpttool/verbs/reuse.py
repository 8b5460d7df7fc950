"""Reuse: selected layers get their values from a checkpoint, the rest is newly initialised.

The rest is a head of new layers on the old graph, another graph, or the same graph.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ckpttool.core.calls import require_made
from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError
from ckpttool.core.notes import notes_about
from ckpttool.core.patterns import Pattern
from ckpttool.core.suggestions import Suggestions
from ckpttool.data.class_files import Classes
from ckpttool.graph.contents.class_names import with_class_names
from ckpttool.graph.contents.head import with_fresh_layers
from ckpttool.graph.contents.signatures import choosing_signature
from ckpttool.graph.contents.stored import StoredTensor, chosen_weights, stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.graph.rewrite.feeding import Feeding, feeding
from ckpttool.graph.rewrite.prune import subgraph
from ckpttool.graph.roles.candidates import signature_tensors
from ckpttool.lineage.provenance import Command, Provenance
from ckpttool.model.families import Contents
from ckpttool.model.graphs import graph_as_run
from ckpttool.model.model import Model
from ckpttool.model.plan import ModelPlan, PlanRow, file_notes, plan_rows, prefix_note, require_coverage
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.state import fresh_tensors
from ckpttool.training.heads import headed, place_above, restored_variables
from ckpttool.training.old_classes import about_old_classes
from ckpttool.training.outputs import with_named_outputs
from ckpttool.verbs.freeze import freeze_graph
from ckpttool.verbs.inputs import with_preprocessed_inputs


@dataclass(frozen=True, repr=False)
class ReusePlan(ModelPlan):
    """The graph to write, and the name in the checkpoint of each restored variable."""

    model: Model
    graph: Graph
    sources: Mapping[str, str]
    frozen: Collection[str]
    seed: int
    notes: tuple[str, ...] = ()
    to: str | None = None

    @property
    def rows(self) -> list[PlanRow]:
        """The plan, a row per weight."""
        return plan_rows(self.graph, self.sources, self.frozen)

    @property
    def done(self) -> str:
        """A statement about the written output."""
        return f"written and read back, {counted(len(self.sources), 'tensor')} restored"

    def write(self, output: str | Path, overwrite: bool = False, command: Command | None = None) -> Sequence[str]:
        """Run the initialisers of new variables, write the model, and compare the restored values.

        Raises:
            ExistingOutput: the output exists.
        """
        command = command or Command.of_call("reuse", self.model.path, output)
        self.check(output, overwrite)
        fresh = [name for name in stored_tensors(self.graph) if name not in self.sources]
        restored = {name: self.model.checkpoint[source] for name, source in self.sources.items()}
        values = restored | fresh_tensors(self.graph, fresh, self.seed, restored)
        made_of = Provenance.joined(self.model.provenance, self.graph.provenance)
        contents = Contents(self.graph, values, made_of, command)
        return self.writer(output).write(contents, Path(output), overwrite).notes


def plan_reuse(
    model: Model,
    layers: str | None,
    *,
    head: str | None = None,
    after: str | None = None,
    into: Path | None = None,
    freeze: str | None = None,
    lenient: bool = False,
    require: float = 0.0,
    recipe: Recipe | None = None,
    seed: int = 42,
    objective: Objective | None = None,
    inputs: Sequence[str] = (),
    labels: str | None = None,
    classes: Classes = None,
    to: str | None = None,
    preprocess: str | None = None,
    signature: str | None = None,
) -> ReusePlan:
    """Plan what `reuse` writes; nothing is written before the plan's `write`.

    Args:
        model: The source of the values.
        layers: A pattern of the layers to restore; None restores none, and the layers below a new head are random.
        head: New layers (SPEC) to add above the last restored one; the layers above it are removed.
        after: The layer above which to add the head instead.
        into: Another graph to restore into; without `head` and `into` it is the model's own, newly initialised.
        freeze: A pattern of the layers that training must not change.
        lenient: Newly initialise, and list, variables that do not match.
        require: The minimum percentage of the parameters to restore.
        recipe: The optimizer and its settings, for a head.
        seed: The random seed of newly initialised variables.
        objective: The loss and metrics of the head.
        inputs: The tensors that rows are fed to, also NAME=TENSOR and `X[?,28,28,1]`; by default where pipelines end.
        labels: The tensor that labels are fed to, likewise; a head has its own.
        classes: The class names of the output, or the file that contains them; new outputs have none by default.
        to: The family to write: `ckpt`, `saved-model`, `keras`; else that of the output's path, or of the graph.
        preprocess: The preprocessing of rows (`scale(1/127.5, -1)`), if not the one stored in the model.
        signature: The signature of a SavedModel; a head is added above the layers that it computes.

    Raises:
        UnknownName: a pattern, a layer or the signature matches nothing.
        DataError: the number of class names differs from that of outputs.
        PlanError: shapes do not match, or less than `require` percent of the parameters would be restored.
    """
    require_made("`recipe`", recipe, Recipe)
    require_made("`objective`", objective, Objective)
    _refuse_contradictions(layers, head, after, into, labels)
    model = model.thawed()
    if signature:
        model = replace(model, graph=choosing_signature(model.graph, signature))
    chosen, frozen = Pattern(layers) if layers else None, Pattern(freeze) if freeze else None
    restored = restored_variables(model, chosen) if chosen else []
    if head:
        plan = _with_head(
            model,
            restored,
            head,
            _called(model.graph) if signature else model.graph,
            after=after,
            inputs=inputs,
            frozen=frozen,
            recipe=recipe or Recipe(),
            seed=seed,
            objective=objective or Objective(),
        )
    else:
        target = graph_as_run(into).allowing(model.graph.allowed) if into else model.graph
        plan = _in_graph(model, restored, _fed(target, inputs, labels), frozen, lenient, seed)
    if freeze and not any(row.train for row in plan.rows):
        raise PlanError(
            f"{model.path}: no layer is left to train: `freeze` {freeze!r} takes all "
            f"{counted(len(plan.rows), 'weight')}"
        )
    require_coverage(plan.rows, require)
    named = with_named_outputs(_without_old_classes(plan), classes)
    graph, changed = with_preprocessed_inputs(named, preprocess, None if head else model.graph)
    prefix = prefix_note(chosen, model.checkpoint) if chosen else ()
    return replace(plan, graph=graph, to=to, notes=(*prefix, *plan.notes, *changed))


def _refuse_contradictions(
    layers: str | None, head: str | None, after: str | None, into: Path | None, labels: str | None
) -> None:
    """Check that the arguments are consistent.

    Raises:
        PlanError: arguments exclude or require each other.
    """
    if head and into:
        raise PlanError("`head` and `into` exclude each other: new layers go on SRC's graph, or TARGET has its own")
    if layers is None and not (head and after):
        raise PlanError("`fresh` restores no layer: specify `head`, and `after`, the layer below the head")
    if after and not head:
        raise PlanError("`after` specifies where the head is added: specify `head` too")
    if head and labels:
        raise PlanError("`labels` are those of the old loss, and `head` has a loss of its own: leave `labels` out")


def _called(graph: Graph) -> Graph:
    """Return the part of the graph that the selected signature computes."""
    tensors = [*signature_tensors(graph, "inputs"), *signature_tensors(graph, "outputs")]
    return subgraph(graph, tensors, initializers=True)


def _with_head(
    model: Model,
    restored: Collection[str],
    head: str,
    graph: Graph,
    *,
    after: str | None,
    inputs: Sequence[str],
    frozen: Pattern | None,
    recipe: Recipe,
    seed: int,
    objective: Objective,
) -> ReusePlan:
    """Plan a head on a model, placed in `graph`, with advice if it would read the outputs of the old classes.

    Raises:
        PlanError: the head cannot be added there; the message has the advice, too.
    """
    place = place_above(graph, restored, after, inputs)
    old = () if after else tuple(about_old_classes(model.graph, restored, head, objective, inputs))
    place = replace(place, why="") if old else place  # other advice on the same
    try:
        put = headed(model, restored, head, place, frozen=frozen, recipe=recipe, seed=seed, objective=objective)
    except PlanError as error:
        raise PlanError("; ".join([str(error), *old])) from error
    return ReusePlan(model, put.graph, {name: name for name in put.kept}, put.frozen, seed, (*put.notes, *old))


def _fed(target: Graph, inputs: Sequence[str], labels: str | None) -> Feeding:
    """Return a graph with placeholders in place of its input pipeline, if it accepts any number of rows.

    The gradients of a graph with a fixed batch size contain that number too: it is returned unchanged.
    """
    fed = feeding(target, inputs, labels, as_built=not inputs)
    return Feeding(target) if fed.rows and not (inputs or labels) else fed


def _in_graph(
    model: Model, restored: Collection[str], fed: Feeding, frozen: Pattern | None, lenient: bool, seed: int
) -> ReusePlan:
    """Plan restoring variables into another graph, or into the model's own graph, newly initialised."""
    graph = fed.graph
    wanted = stored_tensors(graph)
    nearest = Suggestions(wanted)
    misfits: dict[str, str] = {}
    sources: dict[str, str] = {}
    for name, variable in _counterparts(model.graph, graph, restored).items():
        # What the target's own saver would restore has precedence: an average, if it reads averages.
        source = variable.name if variable is not None and variable.name in model.checkpoint else name
        tensor = model.checkpoint[source]
        if variable is None:
            misfits[name] = f"{graph.source} has no variable {name}{nearest.of(name)}"
        elif variable.shape is not None and tensor.shape != variable.shape:
            shapes = f"{list(tensor.shape)} in {model.path}, {list(variable.shape)} in {graph.source}"
            misfits[name] = f"{name} is {shapes}"
        elif tensor.dtype != variable.dtype:
            misfits[name] = f"{name} is {tensor.dtype} in {model.path}, {variable.dtype} in {graph.source}"
        else:
            sources[variable.name] = source
    if misfits and not lenient:
        raise PlanError(f"{next(iter(misfits.values()))}; `lenient` newly initialises such variables")
    if not sources:
        raise PlanError(f"nothing to restore: {'; '.join(misfits.values())}")
    frozen_names = chosen_weights(graph, frozen) if frozen else []
    if frozen_names:
        graph = freeze_graph(graph, frozen_names, "var-list")
    left_out = notes_about("skipped", misfits.values(), most=1)
    notes = (*fed.notes, *left_out, *file_notes(graph, wanted.keys() - sources.keys()))
    return ReusePlan(model, with_fresh_layers(graph, sources), sources, frozen_names, seed, notes)


def _counterparts(source: Graph, target: Graph, names: Collection[str]) -> dict[str, StoredTensor | None]:
    """Return the counterpart of each of some weights in another graph; None if there is none.

    It is the weight with the same name in its checkpoint, else the one with the same variable name.
    """
    held, given = stored_tensors(target), stored_tensors(source)
    weights = {name: each for name, each in held.items() if each.kind == "weight"}
    own = {each.own_name: each for each in weights.values()}

    def counterpart(name: str) -> StoredTensor | None:
        called = given[name].own_name
        return weights.get(name) or own.get(called) or own.get(name) or weights.get(called) or held.get(name)

    return {name: counterpart(name) for name in names}


def _without_old_classes(plan: ReusePlan) -> Graph:
    """Return the graph, without class names if some weights are new: new outputs are for other classes."""
    weights = {name for name, each in stored_tensors(plan.graph).items() if each.kind == "weight"}
    return with_class_names(plan.graph, ()) if weights - set(plan.sources) else plan.graph
