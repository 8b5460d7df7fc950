"""`ckpttool new`: a fresh model."""

from pathlib import Path

import click

from ckpttool.cli.options.config import config_option
from ckpttool.cli.options.general import plan_option, row_shape, rows_options, seed_option
from ckpttool.cli.options.reading import spec
from ckpttool.cli.options.recipe import new_recipe_options, objective_options
from ckpttool.cli.options.rows import classes_option, preprocess_option
from ckpttool.cli.options.writing import model_output_options
from ckpttool.cli.process import configure_for_layers
from ckpttool.cli.show.help import LongHelp
from ckpttool.cli.show.plans import execute
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe


@click.command(cls=LongHelp)
@click.option(
    "--input",
    "shape",
    metavar="SHAPE",
    callback=row_shape,
    required=True,
    help="The shape of one example: 784, or 28,28,1.",
)
@click.option(
    "--layers", metavar="SPEC", callback=spec, required=True, help="The layers, from the input to the logits."
)
@classes_option
@preprocess_option
@objective_options
@new_recipe_options
@seed_option
@config_option()
@plan_option
@rows_options
@model_output_options
def new(
    shape: tuple[int, ...],
    layers: str,
    classes: Path | None,
    preprocess: str | None,
    objective: Objective | None,
    recipe: Recipe,
    seed: int,
    plan_only: bool,
    as_json: bool,
    output: Path | None,
    to: str | None,
    overwrite: bool,
) -> None:
    """Create a new model: initialised layers, a loss, an accuracy and a training op.

    SPEC is a sequence of layers, NAME = KIND(...), separated by semicolons:

    \b
      dense(UNITS, ACTIVATION, init=glorot, bias=True, l1=0, l2=0, max_norm=0)
      conv2d(FILTERS, 3, ACTIVATION, strides=1, padding=same, and as dense)
      max_pool(size=2, strides=SIZE, padding=valid), avg_pool(...), global_avg_pool()
      flatten(), dropout(RATE), activation(ACTIVATION)
      batch_norm(momentum=0.99, epsilon=0.001, activation=linear), layer_norm(epsilon=0.001, activation=linear)

    Activations: linear, relu, leaky_relu(alpha), rrelu(lower, upper), elu(alpha), selu, gelu, swish, tanh, sigmoid,
    softplus. Initialisations: glorot (xavier), he, lecun, each also as _uniform and _normal.

    \b
    Example:
      ckpttool new --input 784 --layers 'hidden1 = dense(300, relu, init=he); outputs = dense(10)' -o fresh.ckpt
    """
    from ckpttool.verbs import new as verb

    configure_for_layers(layers)
    plan = verb.plan_new(
        shape, layers, recipe=recipe, seed=seed, objective=objective, classes=classes, to=to, preprocess=preprocess
    )
    execute(plan, output, overwrite, plan_only, as_json)
