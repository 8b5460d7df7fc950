"""`ckpttool convert`: a checkpoint in another format."""

from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options import shared
from ckpttool.cli.options.writing import format_of, in_any_format
from ckpttool.cli.show.plans import execute
from ckpttool.verbs.convert import plan_convert


@click.command()
@shared.source
@in_any_format
@shared.layers("Only the weights of these layers, with their slots.")
@click.option("--drop-slots", is_flag=True, help="Leave out the optimizer's slots.")
@shared.lenient
@shared.plan
@shared.as_json
@shared.writes
def convert(
    source: Path,
    to: str | None,
    shard_bytes: int | None,
    like: Path | None,
    plan_only: bool,
    as_json: bool,
    output: Path | None,
    overwrite: bool,
    **what: Any,
) -> None:
    """Write the checkpoint SRC in another format: the one of OUT's suffix, or the one that --to names.

    Optimizer slots come along. Tensors that the format cannot hold are an error that names them; --lenient leaves
    them out, and says which.

    \b
    Example:
      ckpttool convert my_model_final.ckpt -o my_model.safetensors
    """
    plan = plan_convert(source, format_of(output, to, like), like=like, shard_bytes=shard_bytes, **what)
    execute(plan, output, overwrite, plan_only, as_json, with_table=False)
