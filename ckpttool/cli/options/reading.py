"""Options of inputs: models and checkpoints, by path or URL, and selections of layers."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from ckpttool.catalogue.local_files import local
from ckpttool.catalogue.names import is_entry
from ckpttool.cli.options.completions import layer_names, rule_sets
from ckpttool.cli.options.decorators import Decorator, checked_first, together
from ckpttool.cli.options.general import PATH, NotedPath
from ckpttool.cli.show.tables import say
from ckpttool.formats import registry
from ckpttool.formats.keras.scheme import is_application
from ckpttool.remote.paths import is_url


class Source(NotedPath):
    """A path to read from; a URL becomes the local path that stands for it, `zoo:NAME` the path of the entry."""

    NOTED = "ckpttool.read"

    def path_of(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path of a text; a URL must not become a `Path` first, which would lose a slash."""
        return local(value) if is_url(value) or is_entry(value) else super().path_of(value, param, ctx)


SOURCE = Source(path_type=Path)
"""A checkpoint or a graph to read: a path or a URL."""


def note_sources(paths: Iterable[Path]) -> None:
    """Record models that the command line does not name, because a plan or a catalogue does, as if it did."""
    context = click.get_current_context()
    context.meta[Source.NOTED] = [*context.meta.get(Source.NOTED, ()), *paths]


class EntryOrPath(NotedPath):
    """A path to read from; `zoo:NAME` becomes the path of the entry, and URLs are handled by the command.

    It is recorded like a `Source`: what is written with the structure of a file has the graph of that file.
    """

    NOTED = Source.NOTED

    def path_of(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path of a text."""
        return local(value) if is_entry(value) else super().path_of(value, param, ctx)


ENTRY_OR_PATH = EntryOrPath(path_type=Path)
"""Files that are read unchanged: by `scan` and `--like`."""

_FILE = "ckpttool.weights"


def _keep_file(context: click.Context, _option: click.Parameter, file: str | None) -> None:
    context.meta[_FILE] = str(local(file)) if file and is_entry(file) else file


def _with_file(context: click.Context, option: click.Parameter, path: Path | None) -> Path | None:
    """Return an architecture with the weights specified for it, and other models unchanged."""
    file = context.meta.get(_FILE)
    if file is None or path is None:
        return path
    if not is_application(path):
        raise click.BadParameter(
            f"{path} has weights: --weights is only for an architecture, keras:NAME", context, option
        )
    from ckpttool.formats.keras.applications import application, named_path  # slow, and rarely needed

    return named_path(application(path).of(file))


weights_file_option = click.option(
    "--weights",
    metavar="FILE",
    is_eager=True,
    expose_value=False,
    callback=_keep_file,
    help="The weights of an architecture, keras:NAME; 'none' for random ones. Default: those in Keras's cache.",
)
"""The file with the weights of an architecture; it becomes part of the model argument."""


def models_first(*names: str) -> Decorator:
    """Return a decorator that checks that models and checkpoints exist before the command runs."""
    return checked_first(_require_there, *names)


def _require_there(path: Path) -> None:
    """Check that a path exists, or that an architecture and the file of its weights do."""
    if is_application(path):
        from ckpttool.formats.keras.applications import application

        application(path).weights_path()
    else:
        registry.require_there(path)


model_argument = together(
    click.argument("model", metavar="MODEL", type=SOURCE, callback=_with_file), models_first("model")
)
"""A graph: a `.meta` or its checkpoint's prefix, a SavedModel, a GraphDef, a Keras file, or `keras:NAME`."""

source_argument = together(
    click.argument("source", metavar="SRC", type=SOURCE, callback=_with_file), models_first("source")
)
"""The source model or checkpoint of a command."""

checkpoint_argument = together(
    click.argument("checkpoint", metavar="CKPT", type=SOURCE, callback=_with_file), models_first("checkpoint")
)
"""A checkpoint: a prefix, one of its files, a folder with a `checkpoint` file, a SavedModel folder, or an `.npz`."""

checkpoints_argument = together(
    click.argument("checkpoints", nargs=-1, required=True, metavar="CKPT CKPT ...", type=SOURCE),
    models_first("checkpoints"),
)


def _numbers(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[float, ...] | None:
    """Parse comma-separated numbers."""
    try:
        return None if value is None else tuple(float(part) for part in value.split(","))
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is not a list of numbers such as 1,2,3") from error


def _say_allowed(context: click.Context, option: click.Parameter, op_types: tuple[str, ...]) -> tuple[str, ...]:
    """Print the types of ops that are allowed to run."""
    if op_types:
        say(f"allowed to run, although they can have side effects: {', '.join(op_types)}")
    return op_types


allow_op_option = click.option(
    "--allow-op",
    metavar="TYPE",
    multiple=True,
    callback=_say_allowed,
    help="Allow ops of this type, such as PyFunc, although they can have side effects; may be repeated.",
)
"""The user's consent to ops that an untrusted graph could use to read and write files."""

weights_option = click.option(
    "--weights", metavar="N,N,...", callback=_numbers, help="The weight of each checkpoint, in order."
)

tags_option = click.option(
    "--tags",
    metavar="TAG,...",
    callback=lambda _context, _option, value: None if value is None else [tag for tag in value.split(",") if tag],
    help="The tags of the graph, if a SavedModel has several: 'serve', or 'serve,gpu'.",
)

signature_option = click.option(
    "--signature", metavar="NAME", help="The signature of a SavedModel to use, if not the default."
)

PATTERN = "A regular expression for whole path components: 'hidden[123]'."

ema_option = click.option(
    "--ema", is_flag=True, help="Use the moving averages of the weights (EMA) instead of the weights."
)

slots_option = click.option("--slots", is_flag=True, help="Patterns also select optimizer slots and step counters.")


def layers_option(help_text: str) -> Decorator:
    """Return the option that selects layers by a pattern."""
    text = f"{help_text} {PATTERN}"
    return click.option("--layers", metavar="RE", shell_complete=layer_names, help=text)


def freeze_option(required: bool = False) -> Decorator:
    """Return the option that selects the layers to freeze."""
    return click.option(
        "--freeze",
        metavar="RE",
        required=required,
        shell_complete=layer_names,
        help=f"Layers to freeze. {PATTERN}",
    )


def spec(_context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Check the syntax of a SPEC of layers, which is parsed again when they are built.

    Raises:
        PlanError: it is invalid; the message has the line, the column and what was found there.
    """
    if value is not None:
        from ckpttool.runtime.spec import parse

        parse(value, str(option.name))
    return value


unfreeze_option = click.option(
    "--unfreeze",
    metavar="RE",
    shell_complete=layer_names,
    help=f"Layers to make trainable that are frozen in MODEL. {PATTERN}",
)

rules_option = click.option(
    "--rules",
    metavar="RULES",
    type=PATH,
    shell_complete=rule_sets,
    help="An included rule set (see `ckpttool rules`), a .toml of [[rule]] tables, or a file of lines RE => NEW.",
)
