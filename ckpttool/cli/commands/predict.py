"""`ckpttool predict`: the outputs of a model for each row."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.config import config_option
from ckpttool.cli.options.general import json_option
from ckpttool.cli.options.reading import allow_op_option, ema_option, model_argument, weights_file_option
from ckpttool.cli.options.rows import ROLES, data_option, judged_rows_options, roles_options
from ckpttool.cli.options.workers import Place, workers_options
from ckpttool.cli.options.writing import output_options
from ckpttool.cli.process import open_to_run
from ckpttool.cli.sandbox.running import running_confined
from ckpttool.cli.show.help import LongHelp
from ckpttool.cli.show.progress import ProgressPrinter
from ckpttool.cli.show.tables import print_document
from ckpttool.core.counts import counted


@click.command(cls=LongHelp)
@model_argument
@weights_file_option
@data_option
@judged_rows_options
@output_options
@click.option(
    "--tensor", metavar="NAME", help="The output tensor. Default: the logits, or the output of the signature."
)
@ema_option
@roles_options
@allow_op_option
@running_confined
@workers_options
@config_option("model", *ROLES)
@json_option
def predict(
    model: Path,
    data: Path,
    reading: Mapping[str, Any],
    output: Path,
    overwrite: bool,
    tensor: str | None,
    ema: bool,
    roles: Mapping[str, Any],
    allow_op: tuple[str, ...],
    place: Place,
    as_json: bool,
) -> None:
    """Write the predictions of MODEL for each example of a data set to an .npz or a .csv. No labels are needed.

    For classification the predictions are the most likely class and the probability of each class; for multi-label
    classification, the labels and the probability of each; else the outputs themselves. The .npz has the arrays rows
    (row numbers in the file, from 0), classes or labels, probabilities and logits, or outputs; the .csv has the columns
    row, class, probability_0 and so on. Data is processed in batches, and the order is kept with any number of workers.

    \b
    Example:
      ckpttool predict tuned.ckpt --data mnist.npz -o predictions.csv
      ckpttool predict tuned.ckpt --data photos/ -o predictions.npz --workers 8
    """
    from ckpttool.verbs import predict as verb

    opened = open_to_run(model, allow_op, ema=ema)
    with place.executor(opened) as executor:
        written = verb.predict(
            opened,
            data,
            output,
            tensor=tensor,
            roles=roles,
            callbacks=ProgressPrinter(as_json),
            **reading,
            overwrite=overwrite,
            executor=executor,
        )
    arrays = f"{', '.join(written.arrays)} of {counted(written.rows, 'row')}"
    line = f"{output}: {arrays}, from {written.tensor}, {written.why}"
    print_document(written.as_json(), [line], as_json)
