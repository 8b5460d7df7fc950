"""`ckpttool extract`: an adapter out of what a tuned model changed."""

from pathlib import Path

import click

from ckpttool.cli.options.general import WRITTEN, lenient_option, plan_option, rows_options
from ckpttool.cli.options.reading import SOURCE, layers_option, models_first
from ckpttool.cli.options.writing import needed_to_write, overwrite_option
from ckpttool.cli.show.plans import execute
from ckpttool.verbs.extract import ENERGY, plan_extract


def _rank(_context: click.Context, _option: click.Parameter, value: str) -> int | None:
    """Read a number above 0, or `auto`."""
    if value == "auto":
        return None
    if not value.isdecimal() or not int(value):
        raise click.BadParameter(f"{value!r} is no rank, expected a number above 0, or auto")
    return int(value)


@click.command()
@click.argument("base", type=SOURCE)
@click.argument("tuned", type=SOURCE)
@models_first("base", "tuned")
@click.option(
    "--rank",
    metavar="R",
    default="auto",
    callback=_rank,
    help="The rank of each product; auto takes for each layer the one that has the share --energy of its change.",
)
@click.option(
    "--energy",
    type=click.FloatRange(0, 1, min_open=True),
    default=ENERGY,
    show_default=True,
    metavar="SHARE",
    help="The share of a change, in squares, that a rank has which would do.",
)
@layers_option("Look at the weights of these layers alone.")
@click.option("--whole", is_flag=True, help="Store what moved and is no matrix whole: biases, normalisations.")
@click.option(
    "--fan-in-fan-out/--no-fan-in-fan-out",
    default=None,
    help="Kernels have their inputs first, as GPT-2's Conv1D and all of TensorFlow; names and biases tell.",
)
@lenient_option
@plan_option
@rows_options
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    type=WRITTEN,
    callback=needed_to_write,
    help="The folder to write, as PEFT loads it, or a file that ends in .safetensors.",
)
@overwrite_option
def extract(
    base: Path,
    tuned: Path,
    rank: int | None,
    energy: float,
    layers: str | None,
    whole: bool,
    fan_in_fan_out: bool | None,
    lenient: bool,
    plan_only: bool,
    as_json: bool,
    output: Path | None,
    overwrite: bool,
) -> None:
    """Write a LoRA adapter in PEFT's format: what TUNED changed of BASE, as products of low rank.

    Each matrix that moved (a convolution's kernel by its outputs) is decomposed; its row has the rank, what is left
    over relative to the change (error), and the rank that would do (enough). What moved and is no matrix is refused:
    --whole stores it whole, --lenient leaves it out. The way back is `edit BASE --fold-adapter OUT`.

    \b
    Example:
      ckpttool extract my_model_final.ckpt tuned.ckpt --rank 8 --whole -o adapter
      ckpttool extract base.safetensors tuned.safetensors --rank auto --energy 0.999 -o adapter.safetensors
    """
    plan = plan_extract(base, tuned, rank, energy, layers, whole, fan_in_fan_out, lenient)
    execute(plan, output, overwrite, plan_only, as_json)
