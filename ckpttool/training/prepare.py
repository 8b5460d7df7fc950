"""Preparing a run: from its options to the graph whose training op updates the weights to train."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

from ckpttool.core.collector import collector_paused
from ckpttool.core.errors import PlanError
from ckpttool.core.patterns import ByPattern, Pattern
from ckpttool.graph.contents.head import head_weights
from ckpttool.graph.contents.layers import layers
from ckpttool.graph.contents.signatures import input_arguments, output_tensors
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.freezing.frozen import Frozen
from ckpttool.graph.rewrite.draft import Draft
from ckpttool.graph.rewrite.importable import importable
from ckpttool.graph.rewrite.prune import subgraph
from ckpttool.graph.roles.resolve import ROLES, Roles, find_roles, with_roles
from ckpttool.model.model import Model
from ckpttool.model.plan import PlanRow, plan_rows
from ckpttool.runtime.build import with_dropout, with_training
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.schedules import RunSteps
from ckpttool.runtime.training_op import rates_of
from ckpttool.training.augment import check_augment
from ckpttool.training.freezing import freeze_for_training
from ckpttool.training.options import Options
from ckpttool.training.teaching import distillation_of

NEEDED = tuple(role for role in ROLES if role != "training_op")
"""The roles that training needs if a training op is added, or if one of the graph is named."""


@dataclass(frozen=True)
class Prepared:
    """What a stage of a run trains: the frozen weights, the graph with its training op, and the roles in it."""

    frozen: Frozen
    graph: Graph
    roles: Roles
    recipe: Recipe | None = None

    @property
    def plan(self) -> list[PlanRow]:
        """The plan of the run: each weight is restored from the model, and trained or frozen."""
        rows = plan_rows(self.graph, {name: name for name in stored_tensors(self.graph)}, self.frozen.names)
        if self.recipe is None or not self.recipe.has_several_rates:
            return rows
        held = {each.name: each for each in variables(self.graph).values()}
        trained = {row.target: held[row.target].op for row in rows if row.train and not row.moves}
        rates = rates_of(self.recipe, [*trained.values()], [variable.op for variable in held.values()])
        return [replace(row, rate=rates[trained[row.target]]) if row.target in trained else row for row in rows]


@collector_paused()
def prepare(
    model: Model, options: Options, train: str | None, span: RunSteps, frozen: Frozen | None = None
) -> Prepared:
    """Return the frozen weights, and the graph that will be trained and written, with its roles.

    With a recipe the graph gets dropout after its trained hidden layers, if specified, and then a new training op for
    the steps of `span`. Without a recipe it keeps its own training op, without the updates of frozen weights. `frozen`
    is the result of `check_options`, if known.

    Raises:
        PlanError: dropout or a loss is specified, but the graph's own training op does not include them.
        CkptError: a pattern matches nothing, no layer is left to train, or an option is malformed.
    """
    roles = find_roles(model.graph, NEEDED, **options.roles)
    frozen = frozen or _freeze(model, roles, options, train)
    return Prepared(frozen, *_trainable(frozen, roles, options, span), options.recipe)


@collector_paused()
def check_options(model: Model, options: Options) -> dict[str | None, Frozen]:
    """Check everything that does not depend on rows, before any is read: all stages of a run, and the augmentation.

    Returns the frozen weights by the pattern of what is trained.

    Raises:
        CkptError: a pattern matches nothing, no layer is left to train, or an option is malformed.
    """
    check_augment(options.augment, options.cache, options.cache_augment)
    roles, frozen = find_roles(model.graph, NEEDED, **options.roles), dict[str | None, Frozen]()
    for stage in options.all_stages():
        frozen[stage.last] = _freeze(model, roles, options, stage.last)
        if _depends_on_layers(options):
            prepare(model, options, stage.train, RunSteps(total=1), frozen.get(stage.train))
    return frozen


def _depends_on_layers(options: Options) -> bool:
    """Return whether options can be checked only on the graph to train: values by pattern, dropout."""
    recipe = options.recipe
    said = (recipe.lr, recipe.l1, recipe.l2, recipe.l2_sp, recipe.max_norm) if recipe else ()
    return bool(options.dropout or any("=" in str(text) for text in said if text))


def _freeze(model: Model, roles: Roles, options: Options, train: str | None) -> Frozen:
    chosen, kept = (Pattern(text) if text else None for text in (train, options.freeze))
    return freeze_for_training(model.graph, roles, chosen, kept, options.recipe is None, options.bn)


def _trainable(frozen: Frozen, roles: Roles, options: Options, span: RunSteps) -> tuple[Graph, Roles]:
    """Return a graph whose training op does not update the frozen weights, and its roles."""
    if options.recipe is None:
        given = [f"`{name}`" for name in ("dropout", "objective", "unfreeze", "teacher") if getattr(options, name)]
        if given:
            raise PlanError(f"`training_op` trains what it was made for: leave {' and '.join(given)} out")
        return frozen.applied("updates"), roles
    named: dict[str, Any] = {role: getattr(roles, role) for role in ("loss", "labels", "logits", "accuracy")}
    signed = [*input_arguments(frozen.graph), *output_tensors(frozen.graph)]
    bare = frozen.applied(forward=[*roles.inputs, *(name for name in named.values() if name), *signed])
    roles = find_roles(bare, needed=("training",), **named, inputs=roles.inputs)
    if options.dropout is not None:
        bare, roles = put_dropout(bare, roles, frozen.names, options.dropout, options.seed)
    trained = [v.op for v in variables(bare).values() if v.trainable and v.name not in frozen.names]
    head = [variable.op for variable in head_weights(bare, roles.logits)] if options.recipe.l2_sp else []
    taught = distillation_of(bare, roles, options)
    graph = with_training(
        importable(bare), str(roles.loss), trained, options.recipe, options.seed, span=span, head=head, taught=taught
    )
    graph = with_roles(graph, roles)
    return graph, find_roles(graph)


DROPOUT_SCOPE = "dropout"
"""The suffix of the scope of a layer's dropout, beside the op that it follows."""


def put_dropout(graph: Graph, roles: Roles, frozen: Collection[str], rates: str, seed: int) -> tuple[Graph, Roles]:
    """Return the graph with dropout after its trained hidden layers, with the specified rates, and its roles.

    Consumers of a layer's output read the output of its dropout. Dropout is active according to the graph's
    training-mode placeholder, or a new one named `training`.

    Raises:
        PlanError: there is no trained hidden layer, a rate is invalid, or a layer has dropout already.
    """
    outputs = hidden_outputs(graph, roles, frozen)
    if not outputs:
        raise PlanError(f"{graph.source}: `dropout` has no trained hidden layer to be put behind")
    rate_of = ByPattern.parse(rates, "`dropout`", _rate, "a share from 0 to below 1").of(outputs)
    for name in rate_of:
        if f"/{DROPOUT_SCOPE}/" in outputs[name]:
            raise PlanError(f"{graph.source}: {name} has dropout already; train with it, without `dropout`")
    scopes = {name: f"{TensorRef.parse(output).op}/{DROPOUT_SCOPE}" for name, output in outputs.items()}
    places = {scopes[name]: (outputs[name], rate) for name, rate in rate_of.items() if rate}
    built, made, training = with_dropout(importable(graph), places, roles.training, seed)
    moved = {TensorRef.parse(old): TensorRef.parse(new) for old, new in made.items()}
    draft = Draft(built)
    draft.redirect(moved, graph.nodes.keys() & built.nodes.keys())
    return draft.sealed(), replace(roles, training=training)


def hidden_outputs(graph: Graph, roles: Roles, frozen: Collection[str]) -> dict[str, str]:
    """Return the output tensors of the hidden layers with a trained kernel, by the layers' names."""
    part, stored = subgraph(graph, [str(roles.loss)]), stored_tensors(graph)
    kernels = {name for name, each in stored.items() if each.trainable and len(each.shape or ()) > 1} - set(frozen)
    outputs = {layer.name: layer.output for layer in layers(part) if layer.output}
    logits = list(outputs)[-1:]
    trained = {layer.name for layer in layers(part) if kernels & set(layer.variables)}
    return {name: output for name, output in outputs.items() if name in trained and name not in logits}


def _rate(text: str) -> float:
    rate = float(text)
    if not 0 <= rate < 1:
        raise ValueError(text)
    return rate
