"""Reuse: chosen layers get their values from a checkpoint, the rest starts fresh.

Three ways to say what the rest is: a head of new layers on the old graph, another graph, or the same graph.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from ckpttool.core.errors import PlanError
from ckpttool.core.names import Pattern, Suggestions
from ckpttool.graph import files
from ckpttool.graph.contents.stored import StoredTensor, stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.lineage.provenance import Command, Provenance
from ckpttool.model.model import Model, write_model
from ckpttool.model.plan import ModelPlan, PlanRow, plan_rows, prefix_note, require_coverage
from ckpttool.runtime.fresh import fresh_tensors
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.verbs.freeze import freeze_graph
from ckpttool.verbs.head import layer_to_build_on, layers_above, with_new_head


@dataclass(frozen=True)
class Reuse(ModelPlan):
    """What will be written: a graph, and for each restored variable the checkpoint name that it comes from."""

    model: Model
    graph: Graph
    sources: Mapping[str, str]
    frozen: Collection[str]
    seed: int
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> list[PlanRow]:
        """The plan, a row per weight."""
        return plan_rows(self.graph, self.sources, self.frozen)

    @property
    def done(self) -> str:
        """What is true of the output afterwards."""
        return f"written and read back, {len(self.sources)} tensors restored"

    def write(self, output: str | Path, overwrite: bool = False, command: Command | None = None) -> None:
        """Run the initialisers of what starts fresh, and write the model; what was restored is compared after it.

        Raises:
            ExistingOutput: the output is there already.
        """
        command = command or Command.of_call("reuse", self.model.path, output)
        self.check(output, overwrite)
        fresh = [name for name in stored_tensors(self.graph) if name not in self.sources]
        restored = {name: self.model.checkpoint[source] for name, source in self.sources.items()}
        values = restored | fresh_tensors(self.graph, fresh, self.seed)
        made_of = Provenance.joined(self.model.provenance, self.graph.provenance)
        write_model(self.graph, values, output, overwrite, provenance=made_of, command=command)


def plan_reuse(
    model: Model,
    layers: str,
    head: str | None = None,
    after: str | None = None,
    into: Path | None = None,
    freeze: str | None = None,
    lenient: bool = False,
    require: float = 0.0,
    recipe: Recipe | None = None,
    seed: int = 42,
    objective: Objective | None = None,
) -> Reuse:
    """Plan what `reuse` writes; nothing is written before the plan's `write`.

    Raises:
        UnknownName: a pattern or a layer names nothing.
        PlanError: something does not fit, or less than `require` percent of the parameters would be restored.
    """
    if head and into:
        raise PlanError("`head` and `into` exclude one another: new layers go on SRC's graph, or TARGET has its own")
    if after and not head:
        raise PlanError("`after` says where a head is put on: give `head` too")
    chosen, frozen = Pattern(layers), Pattern(freeze) if freeze else None
    if head:
        planned = _reuse_head(model, chosen, head, after, frozen, recipe or Recipe(), seed, objective or Objective())
    else:
        planned = _reuse_into(model, chosen, into, frozen, lenient, seed)
    if freeze and not any(row.train for row in planned.rows):
        raise PlanError(
            f"{model.path}: nothing is left to train: `freeze` {freeze!r} takes all {len(planned.rows)} weights"
        )
    require_coverage(planned.rows, require)
    return planned


def _reuse_head(
    model: Model,
    chosen: Pattern,
    head: str,
    after: str | None,
    frozen: Pattern | None,
    recipe: Recipe,
    seed: int,
    objective: Objective,
) -> Reuse:
    """Plan a head of new layers above the last reused layer, or above the layer `after`."""
    restored = _restorable(model, chosen)
    top = layer_to_build_on(model.graph, restored, after)
    graph, cold = with_new_head(model.graph, top, head, frozen, recipe, seed, objective)
    held = stored_tensors(graph)
    kept = [name for name in restored if name in held]
    cut = [name for name in restored if name not in held]
    if not kept:
        raise PlanError(
            f"{model.path}: nothing to restore: {', '.join(cut)} lie above {top.name}, where the head is put on"
        )
    notes = [f"cut off above {top.name}, though chosen: {', '.join(cut)}"] if cut else []
    left = layers_above(model.graph, top)
    notes += [f"left behind with the old loss, training op and slots: {', '.join(left)}"] if left else []
    return Reuse(
        model, graph, {name: name for name in kept}, cold, seed, (*prefix_note(chosen, model.checkpoint), *notes)
    )


def _reuse_into(
    model: Model, chosen: Pattern, target: Path | None, frozen: Pattern | None, lenient: bool, seed: int
) -> Reuse:
    """Plan the restoring of chosen layers into another graph, or into a fresh copy of the model's own."""
    graph = files.load(target).allowing(model.graph.allowed) if target else model.graph
    wanted, names = stored_tensors(graph), _restorable(model, chosen)
    nearest = Suggestions(wanted)
    problems = {name: _misfit(model, name, wanted.get(name), graph, nearest) for name in names}
    left_out = tuple(problem for problem in problems.values() if problem)
    if left_out and not lenient:
        raise PlanError(f"{left_out[0]}; `lenient` leaves such variables fresh")
    sources = {name: name for name, problem in problems.items() if not problem}
    if not sources:
        raise PlanError(f"nothing to restore: {'; '.join(left_out)}")
    cold = frozen.select(_weights(graph)) if frozen else []
    if cold:
        graph = freeze_graph(graph, cold, "var-list")
    notes = tuple(f"left out: {problem}" for problem in left_out)
    return Reuse(model, graph, sources, cold, seed, (*prefix_note(chosen, model.checkpoint), *notes))


def _weights(graph: Graph) -> list[str]:
    return [name for name, stored in stored_tensors(graph).items() if stored.kind == "weight"]


def _restorable(model: Model, chosen: Pattern) -> list[str]:
    """Return the weights that a pattern takes; each has its value in the checkpoint."""
    names = chosen.select(_weights(model.graph))
    missing = [name for name in names if name not in model.checkpoint]
    if missing:
        raise PlanError(f"{model.path}: the graph has {missing[0]}, the checkpoint does not")
    return names


def _misfit(model: Model, name: str, target: StoredTensor | None, graph: Graph, nearest: Suggestions) -> str | None:
    """Say why a tensor cannot be restored into a graph, or None when it can."""
    if target is None:
        return f"{graph.source} has no variable {name}{nearest.of(name)}"
    shape = model.checkpoint[name].shape
    if target.shape is not None and shape != target.shape:
        return f"{name} is {list(shape)} in {model.path}, {list(target.shape)} in {graph.source}"
    if model.checkpoint[name].dtype != target.dtype:
        return f"{name} is {model.checkpoint[name].dtype} in {model.path}, {target.dtype} in {graph.source}"
    return None
