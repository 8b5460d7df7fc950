"""`ckpttool reuse`: chosen layers restored, the rest new."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.completions import layer_names
from ckpttool.cli.options.general import as_arguments, lenient_option, plan_option, rows_options, seed_option
from ckpttool.cli.options.reading import (
    SOURCE,
    allow_op_option,
    ema_option,
    freeze_option,
    layers_option,
    models_first,
    source_argument,
    spec,
    weights_file_option,
)
from ckpttool.cli.options.recipe import objective_options, reuse_recipe_options
from ckpttool.cli.options.rows import (
    classes_option,
    inputs_option,
    labels_option,
    preprocess_option,
    signature_option,
)
from ckpttool.cli.options.writing import model_output_options
from ckpttool.cli.process import open_to_run
from ckpttool.cli.show.help import LongHelp
from ckpttool.cli.show.plans import execute
from ckpttool.cli.wall import behind_wall
from ckpttool.core.errors import PlanError
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe


def _percent(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """Read a number from 0 to 100, with or without its sign."""
    try:
        share = float(value.removesuffix("%"))
    except ValueError:
        share = -1.0
    if not 0 <= share <= 100:
        raise click.BadParameter(f"{value!r} is not a share such as 95%")
    return share


@click.command(cls=LongHelp)
@source_argument
@weights_file_option
@layers_option("The layers to restore.")
@click.option("--fresh", is_flag=True, help="Restore none: below the new layers the network starts at random.")
@click.option(
    "--head",
    metavar="SPEC",
    callback=spec,
    help="New layers to put on above the last restored one; the rest is cut off.",
)
@click.option("--after", metavar="LAYER", shell_complete=layer_names, help="Put the head on above this layer instead.")
@click.option("--into", metavar="TARGET", type=SOURCE, help="Restore into this graph (.meta) instead.")
@models_first("into")
@ema_option
@freeze_option()
@lenient_option
@click.option(
    "--require",
    metavar="SHARE",
    callback=_percent,
    default="0%",
    help="Refuse when less of the parameters is restored: 95%.",
)
@as_arguments("fed", inputs_option, labels_option, signature_option, classes_option, preprocess_option)
@objective_options
@reuse_recipe_options
@allow_op_option
@behind_wall
@seed_option
@plan_option
@rows_options
@model_output_options
def reuse(
    source: Path,
    layers: str | None,
    fresh: bool,
    head: str | None,
    after: str | None,
    into: Path | None,
    ema: bool,
    freeze: str | None,
    lenient: bool,
    require: float,
    fed: Mapping[str, Any],
    objective: Objective | None,
    recipe: Recipe,
    allow_op: tuple[str, ...],
    seed: int,
    plan_only: bool,
    as_json: bool,
    output: Path,
    to: str | None,
    overwrite: bool,
) -> None:
    """Restore the layers that match a pattern, and initialise the rest.

    With --head the network is cut above the last restored layer and new layers are put on, with loss, accuracy and a
    training op; --into restores into another graph; with neither the same graph keeps only the chosen layers' values.
    Where all layers are restored the head goes on what the model gives: on its last pooling, or what joins its towers.
    The constants of a frozen graph (.pb) become variables again.
    Where tf.data, a queue or a reader brought the rows, the new model has placeholders.

    \b
    Example:
      ckpttool reuse my_model_final.ckpt --layers 'hidden[123]' \\
        --head 'hidden4 = dense(20, relu); outputs = dense(10)' -o new_model.ckpt
    """
    from ckpttool.model.model import Model
    from ckpttool.verbs.reuse import plan_reuse

    if fresh is (layers is not None):
        raise PlanError("specify the `layers` to restore, or `fresh`, which restores none")
    plan = plan_reuse(
        open_to_run(source, allow_op, ema=ema) if head else Model.open(source, allow_op, ema),
        layers,
        head=head,
        after=after,
        into=into,
        freeze=freeze,
        lenient=lenient,
        require=require,
        recipe=recipe,
        seed=seed,
        objective=objective,
        to=to,
        **fed,
    )
    execute(plan, output, overwrite, plan_only, as_json)
