"""`ckpttool predict`: what a model says of each row."""

from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options import shared
from ckpttool.cli.options.config import config
from ckpttool.cli.options.roles import ROLE_OPTIONS, roles
from ckpttool.cli.show.output import document
from ckpttool.cli.show.progress import ProgressPrinter
from ckpttool.model.model import Model
from ckpttool.verbs import predict as verb


@click.command()
@shared.model
@shared.data
@shared.features
@shared.writes
@shared.chosen_rows
@click.option("--tensor", metavar="NAME", help="What to predict with, if not the logits or the signature's output.")
@roles
@config("model", *ROLE_OPTIONS)
@shared.as_json
def predict(model: Path, data: Path, output: Path, as_json: bool, **how: Any) -> None:
    """Write what MODEL says of each row of a data set to an .npz or a .csv; the rows need no labels.

    Of classes that is the likeliest one and the probability of each, of several labels those that hold and the
    probability of each, else the outputs as they are. The .npz has arrays named so: rows (their numbers in the file,
    from 0), classes or labels, probabilities and logits, or outputs; the .csv has the columns row, class,
    probability_0 and so on. Rows are read, computed and written some at a time.

    \b
    Example:
      ckpttool predict tuned.ckpt --data mnist.npz -o predictions.csv
    """
    found = verb.predict(Model.open(model), data, output, callbacks=ProgressPrinter(as_json), **how)
    line = f"{output}: {', '.join(found.arrays)} of {found.rows} rows, from {found.tensor}, {found.why}"
    document(found.as_json(), [line], as_json)
