"""Options of outputs: the path, whether it is overwritten, the format, and the inputs and outputs of a graph."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.decorators import Decorator, as_arguments, as_value, together
from ckpttool.cli.options.general import WRITTEN, Written, verbose_option
from ckpttool.cli.options.reading import (
    ENTRY_OR_PATH,
    ema_option,
    model_argument,
    signature_option,
    weights_file_option,
)
from ckpttool.core.errors import FormatError
from ckpttool.formats import registry
from ckpttool.graph.roles.places import parted


def needed_to_write(context: click.Context, option: click.Parameter, value: Path | None) -> Path | None:
    """Require the output, except for a plan or a quick search, which write nothing."""
    if value is None and not (context.params.get("plan_only") or context.params.get("quick")):
        raise click.MissingParameter(ctx=context, param=option)
    return value


def _no_folder(context: click.Context, option: click.Parameter, value: Path | None) -> Path | None:
    """Require the output, which must not be a folder."""
    value = needed_to_write(context, option, value)
    if value is not None and value.is_dir():
        raise click.BadParameter(f"{value} is a folder, expected a prefix such as {value / 'model.ckpt'}")
    return value


overwrite_option = click.option("--overwrite", is_flag=True, help="Replace OUT if it exists.")

output_options = together(
    click.option(
        "-o", "--output", metavar="OUT", type=WRITTEN, callback=_no_folder, help="The prefix (or file) to write."
    ),
    overwrite_option,
    verbose_option,
)
"""`--output` and `--overwrite` of a command that writes a prefix or a file."""


class _ModelPath(Written):
    """The path of a model to write; a slash at the end, which a `Path` loses, is recorded in Click's context."""

    def path_of(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path of a text."""
        if ctx is not None:
            ctx.meta[_FOLDER] = str(value).endswith("/")
        return super().path_of(value, param, ctx)


_FOLDER = "ckpttool.folder"


def family_asked(to: str | None) -> str | None:
    """Return the requested family: that of `--to`, else `saved-model` for an output that ends in a slash, else None."""
    is_folder = click.get_current_context().meta.get(_FOLDER)
    return to or ("saved-model" if is_folder else None)


_model_path_option = click.option(
    "-o",
    "--output",
    metavar="OUT",
    type=_ModelPath(path_type=Path),
    callback=needed_to_write,
    help="The prefix to write, a SavedModel folder, or a .keras file; to an .h5, only the weights are written.",
)

edited_output_options = together(_model_path_option, overwrite_option, verbose_option)
"""`--output` and `--overwrite` of a command that writes a checkpoint of any format, or a model."""

model_output_options = together(
    _model_path_option,
    as_value(
        "to",
        family_asked,
        click.option(
            "--to",
            metavar="FAMILY",
            help="ckpt (a TensorFlow 1 model), saved-model or keras. Default: determined by OUT (`x.ckpt`, `x/`, "
            "`x.keras`), else the kind of the input.",
        ),
    ),
    overwrite_option,
    verbose_option,
)
"""`--output`, `--to` and `--overwrite` of a command that writes a model."""

folder_options = together(
    click.option(
        "-o", "--output", metavar="FOLDER", type=WRITTEN, callback=needed_to_write, help="The folder to write."
    ),
    overwrite_option,
    verbose_option,
)
"""`--output` and `--overwrite` of a command that writes a folder."""


UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def size(_ctx: click.Context, _param: click.Parameter, value: str | None) -> int | None:
    """Parse a size, `2GB`, `500MB`, `1GiB` or a number, into bytes."""
    if value is None:
        return None
    size = re.fullmatch(r"(\d+)\s*([KMG]?I?)B?", value.strip().upper())
    if not size or size[2] not in UNITS or not int(size[1]):
        raise click.BadParameter(f"{value!r} is not a size such as 2GB, 500MB or 1GiB")
    return int(size[1]) * UNITS[size[2]]


def shard_size_option(required: bool = False) -> Decorator:
    """Return the option for the maximum size of a file in bytes."""
    text = "The maximum size of a file, 2GB or 500MB; larger checkpoints are split."
    return click.option("--shard-size", "shard_bytes", metavar="SIZE", callback=size, required=required, help=text)


format_options = together(
    click.option("--to", metavar="FORMAT", help="The output format, if the suffix of OUT does not determine it."),
    shard_size_option(),
    click.option(
        "--like",
        metavar="FILE",
        type=ENTRY_OR_PATH,
        help="A file with the structure for OUT (Keras formats, TensorFlow.js).",
    ),
)
"""`--to`, `--shard-size` and `--like` of commands whose output may have any format."""


Chooser = Callable[[Path, str | None, Path | None], str]
"""A function that returns the format for an output, the name in `--to`, and the file in `--like`."""


def _by_name(path: Path, to: str | None, like: Path | None) -> str:
    return registry.for_output(path, to, like).NAME


def format_of(path: Path | None, to: str | None, like: Path | None = None, choose: Chooser = _by_name) -> str:
    """Return the name of the format to write.

    Raises:
        UsageError: neither an output nor a name determines it.
        FormatError: the suffix of the output is that of a format that is not written.
    """
    if path is None and to is None:
        raise click.UsageError("the plan depends on the format: specify --to or -o", click.get_current_context())
    try:
        return choose(path or Path(), to, like)
    except FormatError as error:
        hint = "; specify the format with --to" if to is None else ""
        raise FormatError(f"{error}{hint}") from error


def _names(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[str, ...]:
    """Parse comma-separated names, which may have shapes with commas."""
    return tuple(parted([value or ""]))


inputs_outputs_options = together(
    click.option(
        "--inputs",
        metavar="X,...",
        callback=_names,
        help="The input tensors, also as NAME=TENSOR; a tensor that is not a placeholder becomes one. "
        "A shape can be specified, 'X[?,28,28,1]', with ? for any size.",
    ),
    click.option(
        "--outputs",
        metavar="Y,...",
        callback=_names,
        help="The output tensors, also as NAME=TENSOR.",
    ),
)
"""`--inputs` and `--outputs` of a graph that is rewritten."""

part_options = together(
    model_argument,
    weights_file_option,
    ema_option,
    as_arguments("part", inputs_outputs_options, signature_option),
)
"""The model of which a part is kept, and `part`: the inputs, the outputs, and the signature that has both."""
