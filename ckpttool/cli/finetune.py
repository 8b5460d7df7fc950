"""`ckpttool finetune`: training from the shell."""

from pathlib import Path
from typing import Any

import click

from ckpttool.cli import options, training
from ckpttool.cli.output import document
from ckpttool.cli.plans import show_plan
from ckpttool.cli.roles import roles
from ckpttool.transfer import finetune as transfer
from ckpttool.transfer.model import Model
from ckpttool.transfer.run import Options


@click.command()
@options.model
@options.data
@options.freeze()
@click.option("--train", metavar="RE", help=f"The layers to train; all others are frozen. {options.PATTERN}")
@training.optimizer
@click.option("--train-op", metavar="NAME", help="Train with the graph's own training op instead of an optimizer.")
@click.option("--epochs", type=click.IntRange(min=1), default=20, show_default=True, help="Passes over the rows.")
@click.option("--batch-size", type=click.IntRange(min=1), default=200, show_default=True, help="Rows per step.")
@click.option("--valid", type=click.IntRange(min=1), help="Hold out the first N training rows for validation.")
@click.option("--cache", is_flag=True, help="Compute the frozen layers' outputs once, and train on those.")
@training.cache_dir
@click.option("--keep", type=click.Choice(["best", "last"]), default="best", show_default=True, help="What to write.")
@roles
@options.seed
@options.plan
@options.as_json
@options.writes
def finetune(
    model: Path, data: Path, output: Path, overwrite: bool, plan_only: bool, as_json: bool, **how: Any
) -> None:
    """Train the layers of MODEL that are not frozen, and write the best epoch.

    Beside the model a report OUT.run.json is written; frozen tensors are compared with MODEL's, byte by byte.

    \b
    Example:
      ckpttool finetune new_model.ckpt --data mnist.npz --freeze 'hidden[12]' --cache -o tuned.ckpt
    """
    opened, wanted = Model.open(model), Options.of(**how)
    if plan_only:
        show_plan(transfer.plan(opened, wanted), as_json)
        return
    run = transfer.finetune(opened, data, wanted, output, overwrite, training.Watcher(as_json))
    document(run.summary(), run.lines(output), as_json)
