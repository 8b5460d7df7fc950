"""Options of any command, and paths: `--format`, `--json`, `--plan`, `--lenient`, `--seed`."""

import sys
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.decorators import together

PATH = click.Path(path_type=Path)
"""A path that need not exist: the prefix of a checkpoint is not a file, so Click must not require one."""


OWN_PROCESS = object()
"""The object of Click's context if the command line is its own process, rather than called from another program."""


def can_confine(context: click.Context) -> bool:
    """Return whether a command can be confined: on Linux, in its own process."""
    return context.obj is OWN_PROCESS and sys.platform == "linux"


class NotedPath(click.Path):
    """A path that is recorded in Click's context, under the key `NOTED` of its class."""

    NOTED = ""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path of a text, after recording it."""
        path = self.path_of(value, param, ctx)
        if ctx is not None:
            ctx.meta.setdefault(self.NOTED, []).append(path)
        return path

    def path_of(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path of a text; one in a configuration may contain a null byte."""
        if "\0" in str(value):
            self.fail(f"{value} contains a null byte, which the name of a file cannot", param, ctx)
        return super().convert(value, param, ctx)


class Written(NotedPath):
    """A path that a command writes."""

    NOTED = "ckpttool.written"


WRITTEN = Written(path_type=Path)


class ListOrFile(click.types.StringParamType):
    """The path of a file, or its contents as a JSON list, as which a list in a configuration is passed."""


FORMATS = ("table", "tsv", "csv", "json", "jsonl", "markdown")
FORMAT, HEADER = "ckpttool.format", "ckpttool.header"
"""The keys of the output format, and of whether it has a header, in Click's context."""


def _keep_format(context: click.Context, _option: click.Parameter, value: str | None) -> None:
    context.meta[FORMAT] = value


def _keep_header(context: click.Context, _option: click.Parameter, value: bool | None) -> None:
    context.meta[HEADER] = value


def _or_format(context: click.Context, option: click.Parameter, value: bool) -> bool:
    """Treat `--format json` and `--format jsonl` as `--json`.

    Raises:
        BadParameter: another format is specified besides `--json`.
    """
    asked = context.meta.get(FORMAT)
    if value and asked not in (None, "json"):
        raise click.BadParameter(f"--json and --format {asked} exclude each other", context, option)
    return value or asked in ("json", "jsonl")


QUIET = "ckpttool.quiet"
"""The key of `--quiet` in Click's context, which suppresses everything but results and errors."""


def _keep_quiet(context: click.Context, _option: click.Parameter, value: bool) -> None:
    context.meta[QUIET] = value or context.meta.get(QUIET, False)


quiet_option = click.option(
    "-q",
    "--quiet",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_keep_quiet,
    help="Print only the result and errors.",
)
"""`--quiet`, before or after the name of a command."""

json_option = together(
    click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text."), quiet_option
)

rows_options = together(
    click.option(
        "--format",
        "shown_format",
        type=click.Choice(FORMATS),
        is_eager=True,
        expose_value=False,
        callback=_keep_format,
        help="The output format. Default: a table on a terminal, TSV elsewhere. JSON has all fields, jsonl one object "
        "per line.",
    ),
    click.option(
        "--header/--no-header",
        "shown_header",
        default=None,
        is_eager=True,
        expose_value=False,
        callback=_keep_header,
        help="Print a header line with the column names. Default: only in csv and markdown.",
    ),
    click.option("--json", "as_json", is_flag=True, callback=_or_format, help="Short for --format json."),
    quiet_option,
)
"""`--format`, `--header` and `--json` of a command that prints rows; it is passed `as_json`, also true for jsonl."""

plan_option = click.option(
    "--plan", "--dry-run", "plan_only", is_flag=True, is_eager=True, help="Show what would be done, and stop."
)

lenient_option = click.option(
    "--lenient", is_flag=True, help="Continue if something does not match, and list what is omitted."
)

VERBOSE = "ckpttool.verbose"
"""The key of `--verbose` in Click's context, for the printing of notes; commands do not get it."""


def _keep_verbose(context: click.Context, _option: click.Parameter, value: bool) -> None:
    context.meta[VERBOSE] = value or context.meta.get(VERBOSE, False)


verbose_option = click.option(
    "-v",
    "--verbose",
    is_flag=True,
    expose_value=False,
    callback=_keep_verbose,
    help="List everything that is omitted, one per line.",
)

GIVEN = "ckpttool.command"
"""The key of the unparsed command line in Click's context."""

MAX_SEED = 2**31 - 1
"""The largest seed that TensorFlow distinguishes from others."""

seed_option = click.option(
    "--seed",
    type=click.IntRange(0, MAX_SEED),
    default=42,
    show_default=True,
    help="The random seed.",
)


def sizes_of(shape: str) -> list[str]:
    """Split a shape, written with `x` or commas, into its sizes."""
    return shape.lower().replace("x", ",").split(",")


def row_shape(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Parse a shape: `784`, `28,28,1` or `28x28x1`."""
    sizes = [text.strip() for text in sizes_of(value)] if value is not None else ["1"]
    if not all(text.isdecimal() and int(text) > 0 for text in sizes):
        raise click.BadParameter(f"{value!r} is not a shape such as 784 or 28x28x1")
    return None if value is None else tuple(map(int, sizes))


def _sizes(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[int, ...] | None:
    """Parse the shape of an image: `28,28,1` or `28x28x1`."""
    if value is None:
        return None
    sizes = sizes_of(value)
    if len(sizes) not in (2, 3) or not all(size.strip().isdecimal() for size in sizes):
        raise click.BadParameter(f"expected HEIGHT,WIDTH or HEIGHT,WIDTH,CHANNELS such as 28,28,1, found {value!r}")
    return tuple(map(int, sizes))


image_shape_option = click.option(
    "--image-shape",
    metavar="H,W,C",
    callback=_sizes,
    help="The image shape of flat examples, if neither the data nor the model specifies it: 28,28,1.",
)
