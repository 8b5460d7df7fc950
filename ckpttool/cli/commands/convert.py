"""`ckpttool convert`: a checkpoint in another format."""

from pathlib import Path
from typing import Any

import click

from ckpttool import checkpoint
from ckpttool.cli.options import shared
from ckpttool.cli.options.writing import format_of, in_any_format
from ckpttool.cli.show.output import rows, say
from ckpttool.formats.format import Writing
from ckpttool.surgery.convert import plan_convert
from ckpttool.verbs.listing import kinds_of

COLUMNS = ("name", "shape", "dtype", "bytes", "kind", "then")


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
    tensors = checkpoint.open(source)
    how = Writing(like=like, shard_bytes=shard_bytes)
    plan = plan_convert(tensors, format_of(output, to, like), how=how, kind=kinds_of(tensors, say), **what)
    written = None if plan_only else output
    if written is not None:
        plan.write(written, overwrite)
    if plan_only or as_json:
        rows(plan.rows, COLUMNS, as_json)
    for note in plan.notes:
        say(note)
    if written is not None:
        say(f"{written}: written and read back as {plan.to}, {len(plan.tensors)} tensors ({plan.nbytes} bytes)")
