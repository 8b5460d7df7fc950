"""`ckpttool finetune`: training from the shell."""

from pathlib import Path
from typing import Any

import click

from ckpttool.cli import options, run_options, training
from ckpttool.cli.augmenting import augmenting
from ckpttool.cli.config import config
from ckpttool.cli.objective import objective
from ckpttool.cli.output import document
from ckpttool.cli.plans import show_plan
from ckpttool.cli.roles import roles
from ckpttool.cli.watcher import Watcher
from ckpttool.transfer import finetune as transfer
from ckpttool.transfer.model import Model
from ckpttool.transfer.runs.recording import Recording
from ckpttool.transfer.runs.report import Report
from ckpttool.transfer.runs.run import Options


@click.command()
@options.model
@options.data
@run_options.trained
@training.recipe
@objective
@run_options.epochs
@run_options.caching
@augmenting
@options.features
@run_options.saving
@run_options.recording
@run_options.threads
@roles
@options.seed
@config(repeats=True)
@options.plan
@options.as_json
@options.writes
def finetune(
    model: Path,
    data: Path,
    output: Path,
    overwrite: bool,
    plan_only: bool,
    as_json: bool,
    resume: bool,
    recording: Recording,
    repeats: Report | None,
    **how: Any,
) -> None:
    """Train the layers of MODEL that are not frozen, and write the best epoch.

    Beside the model a report OUT.run.json is written, and after each epoch OUT.history.csv; frozen tensors are
    compared with MODEL's, byte by byte. A run that is stopped (Ctrl-C) is saved in OUT.saves, and the same command
    with --resume goes on. With --config OUT.run.json a run is done again: on the same model and rows and with
    --threads 1, to the same bits.

    \b
    Example:
      ckpttool finetune new_model.ckpt --data mnist.npz --freeze 'hidden[12]' --cache -o tuned.ckpt
    """
    opened, wanted = Model.open(model), Options.of(**how)
    if plan_only:
        show_plan(transfer.plan(opened, wanted), as_json)
        return
    watch = Watcher(as_json)
    run = transfer.finetune(opened, data, wanted, output, overwrite, watch, resume, repeats, recording)
    document(run.summary(), run.lines(output), as_json)
