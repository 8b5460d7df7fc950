"""`ckpttool convert`: a checkpoint in another format."""

from pathlib import Path

import click

from ckpttool.cli.options.general import lenient_option, plan_option, rows_options
from ckpttool.cli.options.reading import layers_option, source_argument, weights_file_option
from ckpttool.cli.options.writing import format_of, format_options, output_options
from ckpttool.cli.show.plans import execute
from ckpttool.verbs.convert import plan_convert


@click.command()
@source_argument
@weights_file_option
@format_options
@layers_option("Only the weights of these layers, with their slots.")
@click.option("--drop-slots", is_flag=True, help="Leave out the optimizer's slots.")
@lenient_option
@plan_option
@rows_options
@output_options
def convert(
    source: Path,
    to: str | None,
    shard_bytes: int | None,
    like: Path | None,
    layers: str | None,
    drop_slots: bool,
    lenient: bool,
    plan_only: bool,
    as_json: bool,
    output: Path | None,
    overwrite: bool,
) -> None:
    """Write the checkpoint SRC in another format: that of OUT's suffix, or the one given by --to.

    Optimizer slots are included. Tensors that the format cannot hold are an error that names them; --lenient leaves
    them out, and lists them.

    Where --like has other names it is a file of the same network in another framework, and OUT gets its names, shapes
    and layouts: PyTorch to Keras or a graph, and back. One side has the network, which tells the layouts; what they and
    the names leave open is an error. The values of SRC are those of OUT, but for what SRC lacks.

    \b
    Example:
      ckpttool convert my_model_final.ckpt -o my_model.safetensors
      ckpttool convert net.pt --like model.keras -o out.keras
      ckpttool convert model.keras --like net.pt -o out.safetensors
    """
    plan = plan_convert(source, format_of(output, to, like), layers, drop_slots, lenient, like, shard_bytes)
    execute(plan, output, overwrite, plan_only, as_json, with_table=False)
