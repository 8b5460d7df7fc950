"""Defaults of a run: options that are not specified come from the run that it resumes, or depend on the data.

A new head on few rows needs more, and different, steps than a whole network on many rows: with batches of 200 and plain
gradient descent its weights would hardly change.
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
from ckpttool.training.save_state import is_before_draws

_EXAMPLE = "outputs=3, .*=20"
FEW_ROWS = 5000
"""A new head has few rows if there are fewer training rows than this."""
PART = 8
"""With few rows, a batch has at most the number of rows divided by this."""
FEW_STEPS = 10
"""Fewer steps per epoch than this are reported in a note."""
OF_FEW_ROWS = "adam"


def as_begun(options: Options, asked: Mapping[str, Any] | None) -> tuple[Options, list[str]]:
    """Return the options of a resumed run, completed from those with which it was started, and notes."""
    if asked is None:
        return options, []
    recipe = options.recipe
    if recipe is not None and recipe.optimizer is None and recipe.lr in (None, AUTO_RATES):
        recipe = replace(recipe, optimizer=asked.get("optimizer"))
    if recipe is not None and recipe.lr == AUTO_RATES and "=" in (asked.get("lr") or ""):
        recipe = replace(recipe, lr=asked["lr"])  # the learning rates that the run determined when it started
    preprocess = asked.get("preprocess") if options.preprocess is None else options.preprocess
    options = replace(
        options, recipe=recipe, batch_size=options.batch_size or asked.get("batch_size"), preprocess=preprocess
    )
    if not is_before_draws(asked):
        return (options if options.valid is not None else replace(options, valid=asked.get("valid"))), []
    rule = rule_before(asked.get("valid"))
    if options.valid is not None and str(options.valid) != str(asked.get("valid")):
        return options, []
    return replace(options, valid=rule), [f"the run was begun when rows were not drawn: it goes on with `valid` {rule}"]


def with_head_first(options: Options, bound: Bound) -> tuple[Options, Bound]:
    """Return the options with stages that train the head first, if requested (Kumar et al. 2022).

    The head is what `reuse` added or newly initialised, else the layer of the logits; the notes say which.

    Raises:
        PlanError: stages are specified too, or it is unknown which layers are the head.
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
    """Return the options with every default filled in, and notes about them."""
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
    """Return a note if the epochs of a run have few steps; otherwise none."""
    steps = max(1, bound.splits[0].rows // (options.batch_size or BATCH_SIZE))
    if steps >= FEW_STEPS:
        return []
    short = f"{counted(steps, 'step')} an epoch, under {FEW_STEPS}"
    return [f"{short}: a smaller `batch_size` or more `epochs` take more"]


def constrained(model: Model) -> list[str]:
    """Return the weights that a Keras model constrains after each step, which no run here does."""
    network = keras_network(model.graph)
    return [name for name in network.constrained if name in model.checkpoint] if network else []


def optimizer_left(bound: Bound, options: Options) -> list[str]:
    """Return a note if a run does not use the optimizer with which a Keras model was compiled and trained."""
    recipe, network = options.recipe, keras_network(bound.model.graph)
    own = compiled_optimizer(network.compiled) if network and bound.roles.training_op is None else None
    if recipe is None or own is None or _commands(bound.model)[-1:] not in ([], ["finetune"]):
        return []
    new = recipe.optimizer or OPTIMIZER
    if recipe.update_rule.learning_rate is None:
        new += f" at a rate of {recipe.rate:g}"
    return [f"the optimizer starts with a new state, as {new}: the file's own, {own}, and its state are not used"]


def has_new_head(model: Model, roles: Roles) -> bool:
    """Return whether the layer of the logits was never trained: by its biases (zero), else by the lineage."""
    top = next((layer for layer in layers(model.graph) if roles.logits and layer.output == roles.logits), None)
    if top is None:
        return False
    weights = [model.checkpoint[name] for name in top.variables if name in model.checkpoint]
    biases = [weight for weight in weights if len(weight.shape) == 1]
    if biases:
        return not any(bias.read().any() for bias in biases)
    return _commands(model)[-1:] in (["new"], ["reuse"])


def _commands(model: Model) -> list[str]:
    """Return the commands that produced a model's values, in order, from its lineage."""
    commands = [record.command for record in lineage_of(model.path, model.checkpoint.metadata).records]
    return [command for command in commands if command in ("new", "reuse", "finetune", "import")]
