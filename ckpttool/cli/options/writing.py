"""How a checkpoint is written: the options of commands whose output may be in any format."""

import re
from pathlib import Path

import click

from ckpttool.cli.options.shared import PATH, Decorator, together
from ckpttool.core.errors import FormatError
from ckpttool.formats import registry

UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def _size(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """Read `2GB`, `500MB`, `1GiB` or a number of bytes."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d+)\s*([KMG]?I?)B?", value.strip().upper())
    if not found or found[2] not in UNITS or not int(found[1]):
        raise click.BadParameter(f"{value!r} is not a size such as 2GB, 500MB or 1GiB")
    return int(found[1]) * UNITS[found[2]]


_to = click.option("--to", metavar="FORMAT", help="The format to write, where OUT's suffix does not say it.")


def shard_size(required: bool = False) -> Decorator:
    """Return the option that says how large a file may become."""
    text = "Write several files of at most 2GB, 500MB, ..."
    return click.option("--shard-size", "shard_bytes", metavar="SIZE", callback=_size, required=required, help=text)


_like = click.option("--like", metavar="FILE", type=PATH, help="The file whose structure OUT gets (Keras's formats).")


in_any_format = together(_to, shard_size(), _like)
"""`--to`, `--shard-size` and `--like`."""


def format_of(path: Path | None, to: str | None, like: Path | None = None) -> str:
    """Return the format that is to be written.

    Raises:
        UsageError: neither an output nor a name says it.
        FormatError: the output's suffix says a format that is not written.
    """
    if path is None and to is None:
        raise click.UsageError("the plan depends on the format: --to or -o says which", click.get_current_context())
    try:
        return registry.for_output(path or Path(), to, like).NAME
    except FormatError as error:
        hint = "; --to names a format for any suffix" if to is None else ""
        raise FormatError(f"{error}{hint}") from error
