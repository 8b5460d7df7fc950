"""`ckpttool cache`: the outputs of frozen layers, computed once."""

from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options import run, shared
from ckpttool.cli.options.augmenting import augmenting
from ckpttool.cli.options.config import config
from ckpttool.cli.options.roles import roles
from ckpttool.cli.show.output import document
from ckpttool.cli.show.progress import ProgressPrinter
from ckpttool.model.model import Model
from ckpttool.verbs import cache as verb


@click.command()
@shared.model
@shared.freeze(required=True)
@shared.data
@shared.features
@click.option("--valid", type=click.IntRange(min=1), help="Hold out the first N training rows, as finetune will.")
@run.cache_dir
@augmenting
@shared.seed
@roles
@config()
@shared.as_json
def cache(
    model: Path,
    freeze: str,
    data: Path,
    valid: int | None,
    cache_dir: Path | None,
    as_json: bool,
    **how: Any,
) -> None:
    """Compute what the frozen layers of MODEL make of every row, and keep it for `finetune --cache`.

    The entry's key is made of the frozen weights, the frozen part of the graph and the data: when one of them
    changes, so does the key, and nothing stale is ever read. With --augment the key has that too, and --seed.

    \b
    Example:
      ckpttool cache new_model.ckpt --freeze 'hidden[12]' --data mnist.npz
    """
    features = verb.cache(Model.open(model), data, freeze, valid, cache_dir, callbacks=ProgressPrinter(as_json), **how)
    document(features.summary(), [str(features.entry.path)], as_json)
