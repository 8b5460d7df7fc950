"""`ckpttool new`: a fresh model."""

from typing import Any

import click

from ckpttool.cli.options import recipe, shared
from ckpttool.cli.options.config import config
from ckpttool.cli.options.objective import objective
from ckpttool.cli.show.plans import show_plan
from ckpttool.verbs import new as verb


def _shape(ctx: click.Context, param: click.Parameter, value: str) -> tuple[int, ...]:
    """Read `784` or `28,28,1`."""
    sizes = [text.strip() for text in value.split(",")]
    if not all(text.isdecimal() and int(text) > 0 for text in sizes):
        raise click.BadParameter(f"{value!r} is not a shape such as 784 or 28,28,1")
    return tuple(map(int, sizes))


@click.command()
@click.option(
    "--input", "shape", metavar="SHAPE", callback=_shape, required=True, help="The shape of one row: 784, or 28,28,1."
)
@click.option("--layers", metavar="SPEC", required=True, help="The layers, from the input to the logits.")
@objective
@recipe.recipe
@shared.seed
@config()
@shared.as_json
@shared.writes
def new(layers: str, as_json: bool, shape: tuple[int, ...], **settings: Any) -> None:
    """Write a fresh model: its layers initialised, with loss, accuracy and a training op.

    A layer in SPEC is NAME = KIND(...), one after the other, parted by semicolons:

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
    show_plan(verb.new(shape, layers, **settings), as_json)
