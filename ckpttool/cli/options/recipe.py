"""Options of how to train: the recipe of the training op."""

from functools import wraps
from typing import Any

import click

from ckpttool.cli.options.shared import Command, Decorator, together
from ckpttool.runtime.optimizers import OPTIMIZERS
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.schedules import SCHEDULES

_BY_PATTERN = "One value for all, or PATTERN=VALUE pairs."
RECIPE = {
    "optimizer": click.option(
        "--optimizer",
        metavar="CALL",
        default="sgd",
        show_default=True,
        help=f"{', '.join(OPTIMIZERS)}; with parameters: 'momentum(0.01, momentum=0.9)'.",
    ),
    "lr": click.option("--lr", metavar="RATE", help=f"The learning rate, if not the optimizer's. {_BY_PATTERN}"),
    "lr_decay_per_layer": click.option(
        "--lr-decay-per-layer", metavar="R", type=float, help="Each layer has R of the rate of that above."
    ),
    "schedule": click.option(
        "--schedule",
        metavar="CALL",
        default="constant",
        show_default=True,
        help=f"How the rate changes: {', '.join(SCHEDULES)}; with parameters: 'exponential(0.1, steps=1000)'.",
    ),
    "warmup": click.option(
        "--warmup", metavar="STEPS", type=int, default=0, help="Let the rate grow over STEPS steps first."
    ),
    "l1": click.option("--l1", metavar="SCALE", help=f"Add SCALE * sum(|w|) of the kernels to the loss. {_BY_PATTERN}"),
    "l2": click.option(
        "--l2", metavar="SCALE", help=f"Add SCALE * sum(w^2) / 2 of the kernels to the loss. {_BY_PATTERN}"
    ),
    "max_norm": click.option(
        "--max-norm", metavar="NORM", help=f"Bound the norms of kernels after each step. {_BY_PATTERN}"
    ),
    "clip_value": click.option("--clip-value", metavar="V", type=float, help="Clip each gradient element to [-V, V]."),
    "clip_norm": click.option("--clip-norm", metavar="V", type=float, help="Clip the norm of each gradient to V."),
    "clip_global_norm": click.option(
        "--clip-global-norm", metavar="V", type=float, help="Clip the norm of all gradients together to V."
    ),
}
"""The options by the fields of a recipe."""


def recipe_without(*absent: str) -> Decorator:
    """Return a decorator with the options of the training op but for some, passed on as one `recipe`."""
    options = {name: option for name, option in RECIPE.items() if name not in absent}

    def decorate(command: Command) -> Command:
        @wraps(command)
        def gathering(**said: Any) -> Any:
            return command(recipe=Recipe(**{name: said.pop(name) for name in options}), **said)

        return together(*options.values())(gathering)

    return decorate


recipe = recipe_without()
