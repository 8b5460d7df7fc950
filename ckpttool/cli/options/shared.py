"""Every argument and option that more than one command has, said once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ckpttool.formats.reading.url_files import local
from ckpttool.remote.paths import is_url

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]


def together(*members: Decorator) -> Decorator:
    """Return one decorator for several options, which the help lists in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(members):
            command = option(command)
        return command

    return decorate


PATH = click.Path(path_type=Path)
"""A path that need not exist: a checkpoint's prefix is not a file, so Click must not ask for one."""


class _Source(click.Path):
    """A path to read from; of a URL, the one where its files stand in."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a path; a `Path` made of a URL would lose one of its slashes."""
        return local(value) if is_url(value) else super().convert(value, param, ctx)


SOURCE = _Source(path_type=Path)
"""A checkpoint or a graph that is read: a path or a URL."""


def _path(name: str, metavar: str, **more: Any) -> Decorator:
    return click.argument(name, metavar=metavar, type=SOURCE, **more)


checkpoint = _path("checkpoint", "CKPT")
"""A checkpoint: a prefix, one of its files, a folder with a `checkpoint` file, a SavedModel folder, or an `.npz`."""

model = _path("model", "MODEL")
"""A graph: a `.meta` or its checkpoint's prefix, a SavedModel, or a GraphDef."""

source = _path("source", "SRC")
"""The model or checkpoint that a command takes from."""

as_json = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")


def _needed_to_write(context: click.Context, option: click.Parameter, value: Path | None) -> Path | None:
    """Ask for the output, unless only the plan is to be printed."""
    if value is None and not context.params.get("plan_only"):
        raise click.MissingParameter(ctx=context, param=option)
    return value


def _no_folder(context: click.Context, option: click.Parameter, value: Path | None) -> Path | None:
    """Ask for the output, which is no folder."""
    value = _needed_to_write(context, option, value)
    if value is not None and value.is_dir():
        raise click.BadParameter(f"{value} is a folder, expected a prefix such as {value / 'model.ckpt'}")
    return value


output = click.option(
    "-o", "--output", metavar="OUT", type=PATH, callback=_no_folder, help="The prefix (or file) to write."
)

_folder = click.option(
    "-o", "--output", metavar="FOLDER", type=PATH, callback=_needed_to_write, help="The folder to write."
)

overwrite = click.option("--overwrite", is_flag=True, help="Replace OUT where it exists.")

plan = click.option("--plan", "plan_only", is_flag=True, is_eager=True, help="Print what would be done, and stop.")

lenient = click.option(
    "--lenient", is_flag=True, help="Go on where something does not match, and list what was left out."
)

MOST_SEED = 2**31 - 1
"""The largest seed that TensorFlow tells from others."""

seed = click.option(
    "--seed",
    type=click.IntRange(0, MOST_SEED),
    default=42,
    show_default=True,
    help="What all randomness comes from.",
)

data = click.option(
    "--data",
    metavar="DATA",
    type=PATH,
    required=True,
    help="Rows: an .npz or .h5 with x_train, y_train, x_valid, y_valid, x_test, y_test or the placeholders' names; "
    "x.npy,y.npy; IDX files; .csv, .parquet, .tfrecord; a folder of these, or of images by class; keras:NAME.",
)

features = click.option(
    "--features",
    metavar="SPEC",
    help="What .tfrecord records hold: \"X = image('image/encoded', 28, 28, 1); y = int64()\".",
)

_split = click.option(
    "--split", type=click.Choice(["train", "valid", "test"]), help="Which rows: test, else valid, else all."
)
held_out = click.option("--valid", type=click.IntRange(min=1), help="The first N training rows are validation rows.")


chosen_rows = together(_split, held_out)
"""`--split` and `--valid`, which say together which rows of the data a command takes."""


tags = click.option(
    "--tags",
    metavar="TAG,...",
    callback=lambda _context, _option, value: None if value is None else [tag for tag in value.split(",") if tag],
    help="Which graph of a SavedModel that has several: 'serve', or 'serve,gpu'.",
)

slots = click.option("--slots", is_flag=True, help="Let patterns take optimizer slots and step counters too.")


def layers(help_text: str, required: bool = False) -> Decorator:
    """Return the option that chooses layers by a pattern."""
    return click.option("--layers", metavar="RE", required=required, help=f"{help_text} {PATTERN}")


def freeze(required: bool = False) -> Decorator:
    """Return the option that chooses the layers which training must not change."""
    return click.option(
        "--freeze", metavar="RE", required=required, help=f"Layers that training must not change. {PATTERN}"
    )


def rules(required: bool) -> Decorator:
    """Return the option that takes rules of `import` and `export`."""
    return click.option(
        "--rules",
        metavar="RULES",
        type=PATH,
        required=required,
        help="A ready set (see `ckpttool rules`), a .toml of [[rule]] tables, or a file of lines RE => NEW.",
    )


PATTERN = "A regular expression for whole path components: 'hidden[123]'."


writes = together(output, overwrite)
"""`--output` and `--overwrite`, which belong together."""

writes_folder = together(_folder, overwrite)
"""The same, where the output is a folder."""
