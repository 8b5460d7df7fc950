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
@layers_option("Only the weights of these layers, and their optimizer slots.")
@click.option("--drop-slots", is_flag=True, help="Omit optimizer slots.")
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

    Optimizer slots are included. Tensors that the format cannot hold are an error that names them; --lenient omits
    them and lists them.

    --like can be a file of the same network in another framework, with other names. OUT then gets the names, shapes
    and layouts of that file: PyTorch to Keras or a graph, and the reverse. One of the two files must contain the
    network, which determines the layouts; an ambiguous layout or name is an error. Tensors that SRC does not have are
    copied from the --like file.

    \b
    Example:
      ckpttool convert my_model_final.ckpt -o my_model.safetensors
      ckpttool convert net.pt --like model.keras -o out.keras
      ckpttool convert model.keras --like net.pt -o out.safetensors
    """
    plan = plan_convert(
        source,
        format_of(output, to, like),
        layers=layers,
        drop_slots=drop_slots,
        lenient=lenient,
        like=like,
        shard_bytes=shard_bytes,
        named=output if to is None and like is None else None,
    )
    execute(plan, output, overwrite, plan_only, as_json, with_table=False)
