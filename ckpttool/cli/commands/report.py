"""`ckpttool report`: what is known of a model, on a page."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.confined_reading import reading_confined
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
from ckpttool.cli.show.layer_commands import layer_commands
from ckpttool.cli.show.tables import say
from ckpttool.cli.wall import behind_wall
from ckpttool.runtime.objectives import Objective


@click.command()
@model_argument
@weights_file_option
@click.option("--data", metavar="DATA", type=PATH, help="Rows with labels, to see what MODEL makes of them.")
@there_first("data")
@models_first("against")
@judged_rows_options
@ema_option
@objective_options
@roles_options
@allow_op_option
@click.option("--against", metavar="OLD", type=SOURCE, help="An older model or checkpoint, to see what has moved.")
@click.option("-o", "--output", metavar="FILE", type=WRITTEN, help="The page to write, an .html.")
@click.option("--card", metavar="FILE", type=WRITTEN, help="A model card to write, in Markdown with the Hub's fields.")
@overwrite_option
@behind_wall
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
    """Write a page for a browser of all that is known of MODEL, a model or checkpoint in any format.

    The page is one file that needs no network: what MODEL is, how it came to be, its layers, folded by scope, with the
    figures and a histogram of each tensor, which are frozen, how data flows through them, the filters of the first
    layer, and what moved --against OLD. With --data it also has the confusion matrix, the recall of each class, the
    examples that the model is surest of and wrong, and the activations of its layers. Without it nothing is run.

    --card writes a model card too, or alone: Markdown with the fields of Hugging Face's Hub, as `zoo add --card` reads
    it.

    \b
    Example:
      ckpttool report my_model_final.ckpt -o report.html
      ckpttool report tuned.ckpt --data mnist.npz --against my_model_final.ckpt -o report.html --card README.md
    """
    from ckpttool.verbs import report as verb

    verb.check_outputs(filter(None, (output, card)), overwrite)
    judged = None
    if data is not None:
        from ckpttool.cli.process import open_to_run
        from ckpttool.cli.show.progress import ProgressPrinter

        opened = open_to_run(model, allow_op, ema=ema)
        judged = verb.judge(opened, data, ProgressPrinter(True), objective=objective, roles=roles, **reading)
    facts = verb.report(model, against, judged, say, layer_commands(model))
    for path, write in ((output, verb.write_page), (card, verb.write_card)):
        if path is not None:
            write(facts, path)
            say(f"{path}: written")
