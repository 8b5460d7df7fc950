"""`ckpttool extract`: an adapter of the changes of a fine-tuned model."""

from pathlib import Path

import click

from ckpttool.cli.options.general import WRITTEN, lenient_option, plan_option, rows_options
from ckpttool.cli.options.reading import SOURCE, layers_option, models_first
from ckpttool.cli.options.writing import needed_to_write, overwrite_option
from ckpttool.cli.show.plans import execute
from ckpttool.verbs.extract import ENERGY, plan_extract


def _rank(_context: click.Context, _option: click.Parameter, value: str) -> int | None:
    """Parse a rank: a number above 0, or `auto`."""
    if value == "auto":
        return None
    if not value.isdecimal() or not int(value):
        raise click.BadParameter(f"{value!r} is not a rank, expected a positive number or auto")
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
    help="The rank of the adapter; auto chooses for each layer the lowest rank that explains the fraction --energy.",
)
@click.option(
    "--energy",
    type=click.FloatRange(0, 1, min_open=True),
    default=ENERGY,
    show_default=True,
    metavar="SHARE",
    help="The fraction of the squared Frobenius norm of a change that a rank must explain to be sufficient.",
)
@layers_option("Extract only these layers.")
@click.option(
    "--whole",
    is_flag=True,
    help="Store changed tensors that are not matrices in full: biases, normalisation parameters.",
)
@click.option(
    "--fan-in-fan-out/--no-fan-in-fan-out",
    default=None,
    help="Kernels are (inputs, outputs), as in GPT-2's Conv1D and in TensorFlow. Default: inferred from names and "
    "biases.",
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
    help="The folder to write, which PEFT loads, or a .safetensors file.",
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
    """Extract a LoRA adapter in PEFT's format: a low-rank approximation of TUNED - BASE.

    Each changed matrix (for a convolution, the kernel as a matrix by output channel) is decomposed by SVD. The table
    has its rank, the relative error of the approximation (error), and the sufficient rank (enough). Changed tensors
    that are not matrices are an error: --whole stores them in full, --lenient omits them. The inverse is `edit BASE
    --fold-adapter OUT`.

    \b
    Example:
      ckpttool extract my_model_final.ckpt tuned.ckpt --rank 8 --whole -o adapter
      ckpttool extract base.safetensors tuned.safetensors --rank auto --energy 0.999 -o adapter.safetensors
    """
    plan = plan_extract(
        base,
        tuned,
        rank=rank,
        energy=energy,
        layers=layers,
        whole=whole,
        fan_in_fan_out=fan_in_fan_out,
        lenient=lenient,
    )
    execute(plan, output, overwrite, plan_only, as_json)
