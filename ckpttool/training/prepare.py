"""Preparing to train: from the options of a run to the graph whose own training op trains what they leave to it."""

from dataclasses import dataclass
from typing import Any

from ckpttool.core.errors import PlanError
from ckpttool.core.names import Pattern
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph
from ckpttool.graph.freezing.updates import drop_updates, untrainable
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.prune import without_training
from ckpttool.graph.roles.roles import Roles, find_roles, needed_role, with_roles
from ckpttool.model.model import Model
from ckpttool.model.plan import PlanRow, plan_rows
from ckpttool.runtime.build import with_objective, with_training
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.schedules import RunSteps
from ckpttool.training.augment import check_augment
from ckpttool.training.dropout import put_dropout
from ckpttool.training.frozen import Frozen, freeze_for_training
from ckpttool.training.run import Options


@dataclass(frozen=True)
class Prepared:
    """What a stage of a run trains: what is frozen, the graph with its training op, and the graph's roles."""

    frozen: Frozen
    graph: Graph
    roles: Roles

    @property
    def plan(self) -> list[PlanRow]:
        """What becomes of each weight: it is restored from the model, and trained or frozen."""
        return plan_rows(self.graph, {name: name for name in stored_tensors(self.graph)}, self.frozen.names)


def prepare(model: Model, options: Options, train: str | None, span: RunSteps) -> Prepared:
    """Return what will be frozen, and the graph that will be trained and written, with its roles.

    With a recipe the graph gets a new training op, for the steps of `span`; before that dropout behind its trained
    hidden layers, and another loss, where they are asked for. Without one it keeps its own, less the frozen updates.

    Raises:
        PlanError: dropout or a loss is asked for, but the graph's own training op knows nothing of them.
        CkptError: a pattern takes nothing, nothing is left to train, or an option is malformed.
    """
    roles = find_roles(model.graph, **options.roles)
    frozen = _freeze(model, roles, options, train)
    return Prepared(frozen, *_trainable(frozen, roles, options, span))


def check_options(model: Model, options: Options) -> None:
    """Check what depends on no rows, before any is read: every stage of a run, and what is done to images.

    Raises:
        CkptError: a pattern takes nothing, nothing is left to train, or an option is malformed.
    """
    check_augment(options.augment, options.cache, options.cache_augment)
    roles = find_roles(model.graph, **options.roles)
    for stage in options.all_stages():
        _freeze(model, roles, options, stage.last)
        if _depends_on_layers(options):
            prepare(model, options, stage.train, RunSteps(total=1))


def _depends_on_layers(options: Options) -> bool:
    """Say whether only the graph that is trained shows if options fit it: values by pattern, dropout, a loss."""
    recipe = options.recipe
    said = (recipe.lr, recipe.l1, recipe.l2, recipe.max_norm) if recipe else ()
    return bool(options.dropout or options.objective or any("=" in text for text in said if text))


def _freeze(model: Model, roles: Roles, options: Options, train: str | None) -> Frozen:
    chosen, kept = (Pattern(text) if text else None for text in (train, options.freeze))
    return freeze_for_training(model.graph, roles, chosen, kept, options.recipe is None, options.bn)


def _trainable(frozen: Frozen, roles: Roles, options: Options, span: RunSteps) -> tuple[Graph, Roles]:
    """Return a graph whose training op leaves the frozen weights alone, and its roles."""
    if options.recipe is None:
        if options.dropout or options.objective:
            raise PlanError("--train-op trains what it was made for: leave --dropout and --objective out")
        return drop_updates(frozen.graph, frozen.names, frozen.moving), roles
    bare, roles = _bare(frozen, roles)
    if options.dropout is not None:
        bare, roles = put_dropout(bare, roles, frozen.names, options.dropout, options.seed)
    if options.objective is not None:
        bare, roles = _with_objective(bare, roles, options.objective, options.seed)
    trained = [v.op for v in variables(bare).values() if v.trainable and v.name not in frozen.names]
    graph = with_training(importable(bare), str(roles.loss), trained, options.recipe, options.seed, span)
    graph = with_roles(graph, roles)
    return graph, find_roles(graph)


def _bare(frozen: Frozen, roles: Roles) -> tuple[Graph, Roles]:
    """Return the graph without any training op, and its roles without one."""
    said: dict[str, Any] = {
        "loss": roles.loss,
        "labels": roles.labels,
        "logits": roles.logits,
        "accuracy": roles.accuracy,
    }
    targets = [*roles.inputs, *(name for name in said.values() if name)]
    bare = drop_updates(without_training(frozen.graph, targets), frozen.names, frozen.moving)
    bare = untrainable(bare, frozen.names)
    return bare, find_roles(bare, needed=("training",), **said, inputs=roles.inputs)


def _with_objective(graph: Graph, roles: Roles, objective: Objective, seed: int) -> tuple[Graph, Roles]:
    """Return the graph with another loss and accuracy of its logits and labels, and its roles."""
    logits, labels = needed_role(graph, roles, "logits"), needed_role(graph, roles, "labels")
    new = with_objective(importable(graph), logits, labels, objective, seed)
    return new, find_roles(new, needed=("training",), inputs=roles.inputs, logits=logits, labels=labels)
