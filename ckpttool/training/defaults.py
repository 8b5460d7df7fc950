"""Defaults: what a run does where its options do not say it: what the run did that it goes on with, else by its rows.

A new head on few rows needs more and other steps than a whole network on many: with 200 rows a step and plain gradient
descent it would hardly have moved when the epochs are over.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ckpttool.core.calls import require
from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError
from ckpttool.core.names import listed
from ckpttool.formats.keras.objective import compiled_optimizer
from ckpttool.graph.contents.head import head_layers
from ckpttool.graph.contents.keras_network import keras_network
from ckpttool.graph.contents.layers import layers
from ckpttool.graph.roles.resolve import Roles
from ckpttool.lineage.storage import lineage_of
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import AUTO_RATES, OPTIMIZER
from ckpttool.training.bound import Bound
from ckpttool.training.options import BATCH_SIZE, Options
from ckpttool.training.run_report import rule_before
from ckpttool.training.saves import is_before_draws

_EXAMPLE = "outputs=3, .*=20"
FEW_ROWS = 5000
"""Training rows of which fewer are few for a new head."""
PART = 8
"""A batch has one part in so many of few rows at most."""
FEW_STEPS = 10
"""Steps an epoch of which fewer are said."""
OF_FEW_ROWS = "adam"


def as_begun(options: Options, asked: Mapping[str, Any] | None) -> tuple[Options, list[str]]:
    """Return the options of a run that goes on, with what it was begun with where these do not say it, and notes."""
    if asked is None:
        return options, []
    recipe = options.recipe
    if recipe is not None and recipe.optimizer is None and recipe.lr in (None, AUTO_RATES):
        recipe = replace(recipe, optimizer=asked.get("optimizer"))
    if recipe is not None and recipe.lr == AUTO_RATES and "=" in (asked.get("lr") or ""):
        recipe = replace(recipe, lr=asked["lr"])  # the rates that the run found when it began
    preprocess = asked.get("preprocess") if options.preprocess is None else options.preprocess
    options = replace(
        options, recipe=recipe, batch_size=options.batch_size or asked["batch_size"], preprocess=preprocess
    )
    if not is_before_draws(asked):
        return (options if options.valid is not None else replace(options, valid=asked["valid"])), []
    rule = rule_before(asked["valid"])
    if options.valid is not None and str(options.valid) != str(asked["valid"]):
        return options, []
    return replace(options, valid=rule), [f"the run was begun when rows were not drawn: it goes on with `valid` {rule}"]


def with_head_first(options: Options, bound: Bound) -> tuple[Options, Bound]:
    """Return the options with stages that train the head first, where that is asked for (Kumar et al. 2022).

    The head is what `reuse` has put on or left fresh, else the layer of the logits; the bound model's notes say which.

    Raises:
        PlanError: stages are given too, or it is not known which layers are the head.
    """
    if options.lp_ft is None:
        return options, bound
    require("`lp_ft`", options.lp_ft, options.lp_ft >= 1, "a number of epochs")
    if options.stages is not None:
        raise PlanError(
            "`lp_ft` trains the head first, and `stages` specifies what is trained when: leave one of them out"
        )
    head = head_layers(bound.model.graph, bound.roles.logits)
    if not head:
        raise PlanError(f"{bound.model.path}: `lp_ft`: its head is not known: specify `stages`, '{_EXAMPLE}'")
    then = "all layers that are not frozen" if options.train is None else options.train
    stages = f"{'|'.join(map(re.escape, head))}={options.lp_ft}, {options.train or '.*'}={options.epochs}"
    epochs = counted(options.lp_ft, "epoch")
    note = f"`lp_ft`: the head ({listed(head)}) is trained alone for {epochs}, then {then}"
    return replace(options, stages=stages, train=None, lp_ft=None), replace(bound, notes=(*bound.notes, note))


def settled(options: Options, bound: Bound) -> tuple[Options, list[str]]:
    """Return the options with all that they leave open, and what is to be said of that."""
    rows = bound.splits[0].rows
    is_open = options.batch_size is None or (options.recipe is not None and options.recipe.optimizer is None)
    few = is_open and rows < FEW_ROWS and has_new_head(bound.model, bound.roles)
    batch_size = options.batch_size or (min(BATCH_SIZE, max(1, rows // PART)) if few else BATCH_SIZE)
    recipe, chosen = options.recipe, []
    if recipe is not None and recipe.optimizer is None:
        recipe = replace(recipe, optimizer=OF_FEW_ROWS if few and recipe.lr in (None, AUTO_RATES) else OPTIMIZER)
        chosen += ["`optimizer` adam"] if recipe.optimizer == OF_FEW_ROWS else []
    if options.batch_size is None and batch_size < BATCH_SIZE:
        chosen.append(f"`batch_size` {batch_size}")
    notes = [f"a new head and {counted(rows, 'training row')}, under {FEW_ROWS}: {', '.join(chosen)}"] if chosen else []
    valid = str(options.held_out) if bound.splits[1].sides else options.valid
    return replace(options, recipe=recipe, batch_size=batch_size, valid=valid), notes


def few_steps(options: Options, bound: Bound) -> list[str]:
    """Return what is to be said of the length of a run's epochs: that they have few steps, if so."""
    steps = max(1, bound.splits[0].rows // (options.batch_size or BATCH_SIZE))
    if steps >= FEW_STEPS:
        return []
    short = f"{counted(steps, 'step')} an epoch, under {FEW_STEPS}"
    return [f"{short}: a smaller `batch_size` or more `epochs` take more"]


def constrained(model: Model) -> list[str]:
    """Return the weights that a Keras model would bring back into bounds after each step, which no run does."""
    network = keras_network(model.graph)
    return [name for name in network.constrained if name in model.checkpoint] if network else []


def optimizer_left(bound: Bound, options: Options) -> list[str]:
    """Say that a run has an optimizer of its own, not that which a Keras model was compiled with and trained by."""
    recipe, network = options.recipe, keras_network(bound.model.graph)
    own = compiled_optimizer(network.compiled) if network and bound.roles.training_op is None else None
    if recipe is None or own is None or _commands(bound.model)[-1:] not in ([], ["finetune"]):
        return []
    new = recipe.optimizer or OPTIMIZER
    if recipe.update_rule.learning_rate is None:
        new += f" at a rate of {recipe.rate:g}"
    return [f"the optimizer starts with a new state, as {new}: the file's own, {own}, and its state are not used"]


def has_new_head(model: Model, roles: Roles) -> bool:
    """Say whether the layer of the logits was never trained: its biases are zero; without any, by its lineage."""
    top = next((layer for layer in layers(model.graph) if roles.logits and layer.output == roles.logits), None)
    if top is None:
        return False
    weights = [model.checkpoint[name] for name in top.variables if name in model.checkpoint]
    biases = [weight for weight in weights if len(weight.shape) == 1]
    if biases:
        return not any(bias.read().any() for bias in biases)
    return _commands(model)[-1:] in (["new"], ["reuse"])


def _commands(model: Model) -> list[str]:
    """Return the commands that gave a model its values, in their order, as its lineage has them."""
    commands = [record.command for record in lineage_of(model.path, model.checkpoint.metadata).records]
    return [command for command in commands if command in ("new", "reuse", "finetune", "import")]
