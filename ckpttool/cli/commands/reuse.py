"""`ckpttool reuse`: selected layers restored, the others initialised."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.completions import layer_names
from ckpttool.cli.options.decorators import as_arguments
from ckpttool.cli.options.general import lenient_option, plan_option, rows_options, seed_option
from ckpttool.cli.options.reading import (
    SOURCE,
    allow_op_option,
    ema_option,
    freeze_option,
    layers_option,
    models_first,
    signature_option,
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
)
from ckpttool.cli.options.writing import model_output_options
from ckpttool.cli.process import open_to_run
from ckpttool.cli.sandbox.running import running_confined
from ckpttool.cli.show.help import LongHelp
from ckpttool.cli.show.plans import execute
from ckpttool.core.errors import PlanError
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe


def _percent(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """Parse a percentage from 0 to 100, with or without a sign."""
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
@click.option("--fresh", is_flag=True, help="Restore no layers: the kept part of the network is newly initialised.")
@click.option(
    "--head",
    metavar="SPEC",
    callback=spec,
    help="New layers to add above the last restored one; the layers above it are removed.",
)
@click.option("--after", metavar="LAYER", shell_complete=layer_names, help="Add the head above this layer instead.")
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
    help="Fail if less than this fraction of the parameters is restored: 95%.",
)
@as_arguments("fed", inputs_option, labels_option, signature_option, classes_option, preprocess_option)
@objective_options
@reuse_recipe_options
@allow_op_option
@running_confined
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

    --head removes the layers above the last restored one and adds new layers, a loss, an accuracy and a
    training op. --into restores into another graph. With neither, the graph stays the same, and the values of all other
    layers are newly initialised. If all layers are restored, the head is added above the last pooling or the op that
    joins the branches of the network. The constants of a frozen graph (.pb) become variables again. Input pipelines
    (tf.data, queues, readers) are replaced by placeholders.

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
