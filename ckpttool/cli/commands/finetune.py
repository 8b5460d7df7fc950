"""`ckpttool finetune`: training from the shell."""

from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options import recipe, run, shared
from ckpttool.cli.options.augmenting import augmenting
from ckpttool.cli.options.config import config
from ckpttool.cli.options.objective import objective
from ckpttool.cli.options.roles import roles
from ckpttool.cli.show.output import document
from ckpttool.cli.show.plans import show_plan
from ckpttool.cli.show.progress import ProgressPrinter
from ckpttool.model.model import Model
from ckpttool.training.callbacks import Recording
from ckpttool.training.report import Report
from ckpttool.training.run import Options
from ckpttool.verbs import finetune as verb


@click.command()
@shared.model
@shared.data
@run.trained
@recipe.recipe
@objective
@run.epochs
@run.caching
@augmenting
@shared.features
@run.saving
@run.recording
@run.threads
@roles
@shared.seed
@config(repeats=True)
@shared.plan
@shared.as_json
@shared.writes
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
        show_plan(verb.plan(opened, wanted), as_json)
        return
    watch = ProgressPrinter(as_json)
    run = verb.finetune(opened, data, wanted, output, overwrite, watch, resume, repeats, recording)
    document(run.summary(), run.lines(output), as_json)
