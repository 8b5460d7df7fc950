"""What the commands share that make one checkpoint of several."""

import click

from ckpttool.cli.options import shared

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
