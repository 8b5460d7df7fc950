"""`ckpttool report`: an HTML page about a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.general import PATH, WRITTEN
from ckpttool.cli.options.reading import (
    SOURCE,
    allow_op_option,
    ema_option,
    model_argument,
    models_first,
    weights_file_option,
)
from ckpttool.cli.options.recipe import objective_options
from ckpttool.cli.options.rows import judged_rows_options, roles_options, there_first
from ckpttool.cli.options.writing import overwrite_option
from ckpttool.cli.sandbox.reading import reading_confined
from ckpttool.cli.sandbox.running import running_confined
from ckpttool.cli.show.command_lines import layer_commands
from ckpttool.cli.show.tables import say
from ckpttool.runtime.objectives import Objective


@click.command()
@model_argument
@weights_file_option
@click.option("--data", metavar="DATA", type=PATH, help="Labelled data, for the evaluation of MODEL.")
@there_first("data")
@models_first("against")
@judged_rows_options
@ema_option
@objective_options
@roles_options
@allow_op_option
@click.option("--against", metavar="OLD", type=SOURCE, help="An older model or checkpoint to compare with.")
@click.option("-o", "--output", metavar="FILE", type=WRITTEN, help="The HTML page to write.")
@click.option(
    "--card", metavar="FILE", type=WRITTEN, help="Write a model card, in Markdown with the fields of the Hub."
)
@overwrite_option
@running_confined
@reading_confined
def report(
    model: Path,
    data: Path | None,
    reading: Mapping[str, Any],
    ema: bool,
    objective: Objective | None,
    roles: Mapping[str, Any],
    allow_op: tuple[str, ...],
    against: Path | None,
    output: Path | None,
    card: Path | None,
    overwrite: bool,
) -> None:
    """Write an HTML report on MODEL, a model or checkpoint in any format.

    The page is one file that works offline. It shows the facts about MODEL, its history, its layers by scope, with
    statistics and a histogram of each tensor, the frozen layers, the data flow, the filters of the first
    layer, and the changes since --against OLD. With --data it also shows the confusion matrix, the recall of each
    class, the misclassified examples with the highest confidence, and the activations. Without --data the model is not
    run.

    --card writes a model card, with or without the page: Markdown with the fields of Hugging Face's Hub, which
    `zoo add --card` reads.

    \b
    Example:
      ckpttool report my_model_final.ckpt -o report.html
      ckpttool report tuned.ckpt --data mnist.npz --against my_model_final.ckpt -o report.html --card README.md
    """
    from ckpttool.verbs import report as verb

    verb.check_outputs(filter(None, (output, card)), overwrite)
    evaluation = None
    if data is not None:
        from ckpttool.cli.process import open_to_run
        from ckpttool.cli.show.progress import ProgressPrinter

        opened = open_to_run(model, allow_op, ema=ema)
        evaluation = verb.evaluation_of(
            opened, data, ProgressPrinter(True), objective=objective, roles=roles, **reading
        )
    facts = verb.report(model, against, evaluation, say, layer_commands(model))
    verb.write(facts, output, card, overwrite)
    for path in filter(None, (output, card)):
        say(f"{path}: written")
