"""`ckpttool reuse`: chosen layers restored, the rest new."""

from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options import recipe, shared
from ckpttool.cli.options.objective import objective
from ckpttool.cli.show.plans import execute
from ckpttool.model.model import Model
from ckpttool.verbs.reuse import plan_reuse


def _percent(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """Read a number from 0 to 100, with or without its sign."""
    try:
        share = float(value.removesuffix("%"))
    except ValueError:
        share = -1.0
    if not 0 <= share <= 100:
        raise click.BadParameter(f"{value!r} is not a share such as 95%")
    return share


@click.command()
@shared.source
@shared.layers("The layers to restore.", required=True)
@click.option("--head", metavar="SPEC", help="New layers to put on above the last restored one; the rest is cut off.")
@click.option("--after", metavar="LAYER", help="Put the head on above this layer instead.")
@click.option("--into", metavar="TARGET", type=shared.SOURCE, help="Restore into this graph (.meta) instead.")
@shared.freeze()
@shared.lenient
@click.option(
    "--require",
    metavar="SHARE",
    callback=_percent,
    default="0%",
    help="Refuse when less of the parameters is restored: 95%.",
)
@objective
@recipe.recipe
@shared.seed
@shared.plan
@shared.as_json
@shared.writes
def reuse(source: Path, plan_only: bool, as_json: bool, output: Path, overwrite: bool, **how: Any) -> None:
    """Restore the layers that a pattern takes, and let the rest start fresh.

    With --head the network is cut above the last restored layer and new layers are put on, with loss, accuracy and a
    training op; --into restores into another graph; with neither the same graph keeps the chosen layers only.

    \b
    Example:
      ckpttool reuse my_model_final.ckpt --layers 'hidden[123]' \\
        --head 'hidden4 = dense(20, relu); outputs = dense(10)' -o new_model.ckpt
    """
    execute(plan_reuse(Model.open(source), **how), output, overwrite, plan_only, as_json)
