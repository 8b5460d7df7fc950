"""What the commands share that make one checkpoint of several."""

from pathlib import Path

import click

from ckpttool.cli.options import shared
from ckpttool.cli.show.output import rows, say
from ckpttool.surgery.merging.agreement import Joined
from ckpttool.verbs.joining import write_joined

COLUMNS = ("name", "shape", "dtype", "bytes", "then")

checkpoints = click.argument("checkpoints", nargs=-1, required=True, metavar="CKPT CKPT ...", type=shared.SOURCE)


def _numbers(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """Read numbers that commas divide."""
    try:
        return None if value is None else tuple(float(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a list of numbers such as 1,2,3") from error


weights = click.option(
    "--weights", metavar="N,N,...", callback=_numbers, help="How much each checkpoint counts, in their order."
)


def carry_out(
    joined: Joined, output: Path | None, overwrite: bool, plan_only: bool, as_json: bool, note_latest: bool = False
) -> None:
    """Print the plan where it was asked for, else write what it says."""
    if plan_only or as_json:
        rows(joined.rows, COLUMNS, as_json)
    for note in joined.notes:
        say(note)
    if output is not None and not plan_only:
        for line in write_joined(joined, output, overwrite, note_latest):
            say(line)
        for flaw in joined.flaws.values():
            say(flaw)
