"""Options of a run of training: what is trained, for how long, on which rows, and what is saved on the way."""

from functools import wraps
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options import shared
from ckpttool.cli.options.shared import PATH, Command, together
from ckpttool.training.callbacks import Recording

_train = click.option("--train", metavar="RE", help=f"The layers to train; all others are frozen. {shared.PATTERN}")
_changed = together(
    click.option(
        "--bn",
        metavar="MODE",
        help="Batch normalisation: train, freeze (averages stay), stats (only they move), or RE=MODE pairs; "
        "frozen layers have freeze, others train.",
    ),
    click.option(
        "--dropout", metavar="RATE", help="Put dropout behind each trained hidden layer; one rate, or RE=RATE pairs."
    ),
)

trained = together(
    shared.freeze(),
    _train,
    click.option(
        "--stages",
        metavar="RE=N,...",
        help="Unfreeze while training: the layers of the first pattern for N epochs, then those of the next too.",
    ),
    click.option(
        "--train-op",
        "training_op",
        metavar="NAME",
        help="Train with the graph's own training op instead of an optimizer.",
    ),
    _changed,
)

trained_at_once = together(shared.freeze(), _train, _changed)
"""What is trained by one optimizer, all in one stage."""

batches = together(
    click.option("--batch-size", type=click.IntRange(min=1), default=200, show_default=True, help="Rows per step."),
    click.option("--valid", type=click.IntRange(min=1), help="Hold out the first N training rows for validation."),
)

epochs = together(
    click.option("--epochs", type=click.IntRange(min=1), default=20, show_default=True, help="Passes over the rows."),
    batches,
    click.option(
        "--early-stopping", metavar="N", type=click.IntRange(min=1), help="End after N epochs without a better one."
    ),
    click.option(
        "--keep", type=click.Choice(["best", "last"]), default="best", show_default=True, help="What to write."
    ),
)

saving = together(
    click.option("--save-every", metavar="WHEN", help="Save the run every '500 steps', '1 epoch' or '10 min'."),
    click.option(
        "--keep-checkpoints",
        metavar="N",
        type=click.IntRange(min=1),
        default=3,
        show_default=True,
        help="How many of these saves to keep, in OUT.saves.",
    ),
    click.option("--resume", is_flag=True, help="Go on from the latest save of a run that was stopped."),
)

_RECORDING = together(
    click.option(
        "--tensorboard",
        metavar="DIR",
        type=PATH,
        help="Write figures, histograms of the trained weights and the graph for `tensorboard --logdir DIR`.",
    ),
    click.option("--plot", metavar="FILE", type=PATH, help="Draw the curves at the end: a .png, .pdf or .svg."),
)


def recording(command: Command) -> Command:
    """Give a command the options of what is recorded of its run, passed on as one `recording`."""

    @wraps(command)
    def gathering(tensorboard: Path | None, plot: Path | None, **given: Any) -> Any:
        return command(recording=Recording(tensorboard, plot), **given)

    return _RECORDING(gathering)


cache_dir = click.option(
    "--cache-dir", metavar="DIR", type=PATH, help="Where features are kept; the user's cache folder if not given."
)

caching = together(
    click.option("--cache", is_flag=True, help="Compute the frozen layers' outputs once, and train on those."),
    cache_dir,
)

threads = click.option(
    "--threads",
    metavar="N",
    type=click.IntRange(min=1),
    help="Cores an op computes on; with 1 a run repeats to the last bit.",
)
