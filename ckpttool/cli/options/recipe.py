"""Options of training: the recipe of the training op, and the objective."""

import click

from ckpttool.cli.options.decorators import Decorator, as_value
from ckpttool.runtime.losses import Loss
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.optimizers import Optimizer
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.schedules import Schedule

_BY_PATTERN = "One value for all, or PATTERN=VALUE pairs."
RECIPE = {
    "optimizer": click.option(
        "--optimizer",
        metavar="CALL",
        help=f"{', '.join(Optimizer.known())}; with parameters: 'momentum(0.01, momentum=0.9)'. Default: sgd; "
        "adam if finetune trains a new head on under 5000 examples without --lr.",
    ),
    "lr": click.option(
        "--lr",
        metavar="RATE",
        help=f"The learning rate. Default: that of the optimizer. {_BY_PATTERN} With auto-rgn finetune scales the rate "
        "of each layer by |gradient| / |weights| at the start.",
    ),
    "lr_decay_per_layer": click.option(
        "--lr-decay-per-layer", metavar="R", type=float, help="Multiply the rate by R for each layer down."
    ),
    "schedule": click.option(
        "--schedule",
        metavar="CALL",
        default="constant",
        show_default=True,
        help=f"The learning rate schedule: {', '.join(Schedule.known())}; with parameters: 'exponential(0.1, "
        "steps=1000)'.",
    ),
    "warmup": click.option(
        "--warmup", metavar="STEPS", type=int, default=0, help="Increase the rate linearly over STEPS steps first."
    ),
    "l1": click.option("--l1", metavar="SCALE", help=f"Add SCALE * sum(|w|) of the kernels to the loss. {_BY_PATTERN}"),
    "l2": click.option(
        "--l2", metavar="SCALE", help=f"Add SCALE * sum(w^2) / 2 of the kernels to the loss. {_BY_PATTERN}"
    ),
    "l2_sp": click.option(
        "--l2-sp",
        metavar="SCALE",
        help="Add SCALE * sum((w - w0)^2) / 2 of the kernels to the loss, with w0 their initial values. One value for "
        "all layers below the head, or PATTERN=VALUE pairs.",
    ),
    "max_norm": click.option(
        "--max-norm", metavar="NORM", help=f"Constrain the norms of kernels after each step. {_BY_PATTERN}"
    ),
    "clip_value": click.option("--clip-value", metavar="V", type=float, help="Clip each gradient element to [-V, V]."),
    "clip_norm": click.option("--clip-norm", metavar="V", type=float, help="Clip the norm of each gradient to V."),
    "clip_global_norm": click.option(
        "--clip-global-norm", metavar="V", type=float, help="Clip the norm of all gradients together to V."
    ),
    "ema": click.option(
        "--ema",
        metavar="D",
        type=float,
        help="Keep moving averages of the trained weights with decay min(D, (1 + t) / (10 + t)) in step t. Validation "
        "uses the averages, and they are written with the weights, for evaluate --ema and predict --ema.",
    ),
}
"""The options by the fields of `Recipe`."""


def _recipe_options(*absent: str) -> Decorator:
    """Return the options of the training op, except some, passed as one `recipe`."""
    return as_value("recipe", Recipe, *(option for name, option in RECIPE.items() if name not in absent), but=absent)


recipe_options = _recipe_options()
reuse_recipe_options = _recipe_options("ema")
"""The options for a new head, where --ema selects the moving averages of the model instead."""
new_recipe_options = _recipe_options("l2_sp", "ema")
"""The options for a randomly initialised network."""
rate_test_recipe_options = _recipe_options("lr", "schedule", "warmup", "ema")
"""The options for a learning rate range test."""


def _objective(objective: str | None, class_weight: str | None, label_smoothing: float) -> Objective | None:
    if (objective, class_weight, label_smoothing) == (None, None, 0.0):
        return None
    return Objective(objective or "softmax", class_weight, label_smoothing)


objective_options = as_value(
    "objective",
    _objective,
    click.option(
        "--objective",
        type=click.Choice(list(Loss.known())),
        help="The loss of new layers (default: softmax), or of a graph that has none.",
    ),
    click.option("--class-weight", metavar="N=W,...", help="Class weights in the loss: '3=2.0, 7=0.5'."),
    click.option("--label-smoothing", metavar="S", type=float, default=0.0, help="The label smoothing, 0 to 1."),
)
"""The options of the loss, passed as one `objective`; None if none is given."""
