"""Options of gates: bounds on a model's metrics, and the baseline to compare with."""

from pathlib import Path

import click

from ckpttool.cli.options.decorators import as_value, together
from ckpttool.cli.options.reading import SOURCE, models_first
from ckpttool.training.gates import Bounds


def _bounds(
    min_accuracy: float | None, max_loss: float | None, max_drop: float | None, baseline: Path | None
) -> tuple[Bounds, Path | None]:
    bounds = Bounds(min_accuracy, max_loss, max_drop)
    bounds.require_baseline(baseline is not None)
    return bounds, baseline


_share = click.FloatRange(0, 1)
_bounds_options = as_value(
    "asked",
    _bounds,
    click.option("--min-accuracy", metavar="A", type=_share, help="Exit with 1 if the accuracy (0 to 1) is below A."),
    click.option("--max-loss", metavar="L", type=float, help="Exit with 1 if the loss is above L."),
    click.option(
        "--max-drop",
        metavar="D",
        type=_share,
        help="Exit with 1 if the accuracy is more than D below that of --baseline.",
    ),
    click.option("--baseline", metavar="OLD", type=SOURCE, help="The model to compare with for --max-drop."),
)
bounds_options = together(models_first("baseline"), _bounds_options)
"""The bounds on metrics and the baseline (None without one), passed as one pair `asked`."""
