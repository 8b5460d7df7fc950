"""`ckpttool convert`: a checkpoint in another format."""

import re
from pathlib import Path
from typing import Any

import click

from ckpttool import checkpoint, formats
from ckpttool.cli import options
from ckpttool.cli.output import rows, say
from ckpttool.formats.format import Writing
from ckpttool.surgery.convert import plan_convert
from ckpttool.transfer.listing import kinds_of

COLUMNS = ("name", "shape", "dtype", "bytes", "kind", "then")
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def _size(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """Read `2GB`, `500MB`, `1GiB` or a number of bytes."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d+)\s*([KMG]?I?)B?", value.strip().upper())
    if not found or found[2] not in UNITS or not int(found[1]):
        raise click.BadParameter(f"{value!r} is not a size such as 2GB, 500MB or 1GiB")
    return int(found[1]) * UNITS[found[2]]


def _format_of(path: Path | None, to: str | None) -> str:
    if path is None and to is None:
        raise click.UsageError("the plan depends on the format: --to or -o says which", click.get_current_context())
    return formats.for_output(path or Path(), to).NAME


@click.command()
@options.source
@click.option("--to", metavar="FORMAT", help="The format to write, where OUT's suffix does not say it.")
@click.option(
    "--shard-size", "shard_bytes", metavar="SIZE", callback=_size, help="Write several files of at most 2GB, 500MB, ..."
)
@click.option("--like", metavar="FILE", type=options.PATH, help="The file whose structure OUT gets (Keras's formats).")
@options.layers("Only the weights of these layers, with their slots.")
@click.option("--drop-slots", is_flag=True, help="Leave out the optimizer's slots.")
@options.lenient
@options.plan
@options.as_json
@options.writes
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
    plan = plan_convert(tensors, _format_of(output, to), how=how, kind=kinds_of(tensors, say), **what)
    if plan_only or as_json:
        rows(plan.rows, COLUMNS, as_json)
    for note in plan.notes:
        say(note)
    if output is not None and not plan_only:
        plan.write(output, overwrite)
        say(f"{output}: written and read back as {plan.to}, {len(plan.tensors)} tensors ({plan.nbytes} bytes)")
