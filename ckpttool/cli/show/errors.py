"""Errors, shown once and in one line, with parameters spelled as the options of the command that runs.

Below the command line an error names a parameter as Python does, in backticks: "`overwrite` replaces it".
"""

import os
import re
import sys

import click

from ckpttool.cli.click_private import is_help
from ckpttool.cli.show.help import option_name
from ckpttool.core.errors import CkptError, Interrupted
from ckpttool.core.shown_text import shortened, visible
from ckpttool.remote.paths import with_urls

SHOWN = (click.ClickException, click.Abort, KeyboardInterrupt, OSError, CkptError)
"""The errors of users and of their systems; any other is a fault of the program, and keeps its traceback."""

INTERRUPTED = 130
"""What a shell says of a program that was stopped by Ctrl-C: 128 + SIGINT."""
PIPE_CLOSED = 141
"""What a shell says of a program whose reader went away: 128 + SIGPIPE."""

_PARAMETER = re.compile(r"`([a-z_][a-z0-9_]*)(?:=(True|False))?`")
_ELSEWHERE = re.compile(r"`([a-z-]+)\(([a-z_]+)\)`")


def show(error: BaseException, command: click.Command | None = None) -> int:
    """Print the one line of an error, and return the exit code for it; `command` is the one that was running."""
    match error:
        case click.ClickException() if is_help(error):
            click.echo(error.format_message(), err=True)
            return error.exit_code
        case BrokenPipeError():
            # The closed standard output gets a place to be flushed to at exit, so that Python stays quiet too.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return PIPE_CLOSED
        case click.Abort() | KeyboardInterrupt():
            message, code = "interrupted", INTERRUPTED
        case click.ClickException():
            context = getattr(error, "ctx", None)
            hint = f" (see {context.command_path} --help)" if context is not None else ""
            message, code = error.format_message().removesuffix(".") + hint, 2
        case Interrupted():
            message, code = str(error), 128 + error.number
        case OSError(filename=file, strerror=reason) if file and not isinstance(error, CkptError):
            message, code = f"{file}: {reason}", 2
        case _:
            message, code = str(error), 2
    click.echo(f"Error: {for_terminal(' '.join(spelled(message, command).split()))}", err=True)
    return code


def for_terminal(text: str) -> str:
    """Return a message as a terminal may see it, whoever wrote the names in it."""
    return shortened(visible(with_urls(text)))


def spelled(text: str, command: click.Command | None) -> str:
    """Return a text with each parameter of a command spelled as its option: `` `batch_size` `` as `--batch-size`.

    An argument is spelled as its metavar, and `` `graph=False` `` as the flag that says so; `` `import(into)` `` is the
    parameter of another command. Whatever else stands in backticks is left as it is.

    >>> cut = click.Command("cut", params=[click.Option(["-n", "--lines", "count"]), click.Argument(["file"])])
    >>> spelled("`count` 3: `file` has 2 lines, `tail` has them all", cut)
    '--lines 3: FILE has 2 lines, `tail` has them all'
    >>> spelled("what it has goes into a model by `import(into)`", cut)
    'what it has goes into a model by `ckpttool import --into`'
    """
    text = _ELSEWHERE.sub(_of_another, text)
    if command is None:
        return text
    parameters = {each.name: each for each in command.params}

    def option(match: re.Match[str]) -> str:
        name, value = match.groups()
        parameter = parameters.get(name)
        if parameter is None or (value and value != _flagged(parameter)):
            return match[0]
        if isinstance(parameter, click.Argument):
            return parameter.metavar or name.upper()
        return option_name(parameter)

    return _PARAMETER.sub(option, text)


def _of_another(match: re.Match[str]) -> str:
    """Spell the parameter of another command, `` `import(into)` `` as `` `ckpttool import --into` ``."""
    from ckpttool.cli import COMMANDS  # which imports this module

    name, parameter = match.groups()
    return f"`ckpttool {name} --{parameter.replace('_', '-')}`" if name in COMMANDS else match[0]


def _flagged(parameter: click.Parameter) -> str | None:
    """Return the value that a flag stands for; None of what is no flag."""
    if not getattr(parameter, "is_flag", False):
        return None
    return str(getattr(parameter, "flag_value", None) is not False)
