"""`ckpttool finetune`: training from the shell."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ckpttool.cli.options.config import config_option
from ckpttool.cli.options.general import plan_option, rows_options
from ckpttool.cli.options.reading import allow_op_option, model_argument, weights_file_option
from ckpttool.cli.options.rows import data_option
from ckpttool.cli.options.training import pseudo_label_options, run_options
from ckpttool.cli.options.writing import model_output_options
from ckpttool.cli.process import configure_for, running_here
from ckpttool.cli.sandbox.running import running_confined
from ckpttool.cli.show.help import LongHelp
from ckpttool.cli.show.plans import show_plan
from ckpttool.cli.show.tables import print_document
from ckpttool.training.callbacks.recording import Recording
from ckpttool.training.options import Options, PseudoLabels

if TYPE_CHECKING:
    from ckpttool.training.run_report import RunReport


@click.command(cls=LongHelp)
@model_argument
@weights_file_option
@data_option
@run_options
@pseudo_label_options
@allow_op_option
@running_confined
@config_option(repeats=True)
@plan_option
@rows_options
@model_output_options
def finetune(
    model: Path,
    data: Path,
    options: Options,
    resume: bool,
    recording: Recording,
    pseudo: PseudoLabels | None,
    repeats: "RunReport | None",
    allow_op: tuple[str, ...],
    plan_only: bool,
    as_json: bool,
    output: Path,
    to: str | None,
    overwrite: bool,
) -> None:
    """Train the layers of MODEL that are not frozen, and write the best epoch.

    A report OUT.run.json is written with the model, and OUT.history.csv after each epoch. Frozen tensors are compared
    byte by byte with those of MODEL. A run that is stopped (Ctrl-C) is saved in OUT.saves; the same command with
    --resume continues it. --config OUT.run.json repeats a run, bit for bit on the same model and data with --threads 1.
    If the graph has no loss, as in a SavedModel or a frozen .pb, specify one with --objective.

    With --pseudo-label the model then labels the examples of --unlabelled, and training continues with the most
    confident ones and the labelled examples, --rounds times. The best round is written, or with --keep last the last.
    The validation set consists of labelled examples.

    \b
    Example:
      ckpttool finetune new_model.ckpt --data mnist.npz --freeze 'hidden[12]' --cache -o tuned.ckpt
      ckpttool finetune new_model.ckpt --data few.npz --pseudo-label 0.2 --unlabelled many.npz -o tuned.ckpt
    """
    from ckpttool.model.model import Model
    from ckpttool.verbs import finetune as verb
    from ckpttool.verbs.pseudo_labels import finetune_in_rounds

    opened = Model.open(model, allow_op)
    if plan_only:
        show_plan(verb.plan(opened, options), as_json)
        return
    configure_for(opened.graph, options.threads)
    train = partial(finetune_in_rounds, pseudo=pseudo) if pseudo else verb.finetune
    running = running_here(as_json, resume, recording)
    run = train(opened, data, options, output, overwrite=overwrite, repeats=repeats, to=to, **running)
    print_document(run.summary(), run.lines(output), as_json)
