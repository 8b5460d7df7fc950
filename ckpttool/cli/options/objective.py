"""Options of what a network is trained for, said once."""

from functools import wraps
from typing import Any

import click

from ckpttool.cli.options.shared import Command, together
from ckpttool.runtime.objectives import OBJECTIVES, Objective

_OPTIONS = together(
    click.option("--objective", type=click.Choice(list(OBJECTIVES)), help="The loss; softmax for a new one."),
    click.option("--class-weight", metavar="N=W,...", help="Weights of classes in the loss: '3=2.0, 7=0.5'."),
    click.option("--label-smoothing", metavar="S", type=float, default=0.0, help="Share of a label given to all."),
)


def objective(command: Command) -> Command:
    """Give a command these options, passed on as one `objective`; None where none of them is given."""

    @wraps(command)
    def gathering(objective: str | None, class_weight: str | None, label_smoothing: float, **options: Any) -> Any:
        said = (objective, class_weight, label_smoothing) != (None, None, 0.0)
        found = Objective(objective or "softmax", class_weight, label_smoothing) if said else None
        return command(objective=found, **options)

    return _OPTIONS(gathering)
