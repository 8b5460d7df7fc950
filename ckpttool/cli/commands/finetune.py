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
from ckpttool.cli.process import SignalInterrupt, configure_for
from ckpttool.cli.show.help import LongHelp
from ckpttool.cli.show.plans import command_line, show_plan
from ckpttool.cli.show.progress import ProgressPrinter
from ckpttool.cli.show.tables import print_document
from ckpttool.cli.wall import behind_wall
from ckpttool.training.callbacks.recording import Recording
from ckpttool.training.options import Options, PseudoLabels

if TYPE_CHECKING:
    from ckpttool.training.run import RunReport


@click.command(cls=LongHelp)
@model_argument
@weights_file_option
@data_option
@run_options
@pseudo_label_options
@allow_op_option
@behind_wall
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

    Beside the model a report OUT.run.json is written, and after each epoch OUT.history.csv; frozen tensors are compared
    with MODEL's, byte by byte. A run that is stopped (Ctrl-C) is saved in OUT.saves, and the same command with --resume
    continues it. With --config OUT.run.json a run is repeated: on the same model and rows and with --threads 1, to the
    same bits. A graph without a loss, such as a SavedModel or a frozen .pb, gets one by --objective.

    With --pseudo-label the model then labels rows of --unlabelled and goes on with the surest beside the labelled ones,
    --rounds times; the best round is written, or with --keep last the last. Rows to validate on are labelled ones.

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
    run = train(
        opened,
        data,
        options,
        output,
        overwrite=overwrite,
        callbacks=ProgressPrinter(as_json),
        resume=resume,
        repeats=repeats,
        recording=recording,
        command=command_line(),
        interrupt=SignalInterrupt(),
        to=to,
    )
    print_document(run.summary(), run.lines(output), as_json)
