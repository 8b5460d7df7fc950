"""Errors, shown in one line, with parameters spelled as options of the running command.

Errors raised below the command line name parameters as in Python, in backticks: "`overwrite` replaces it".
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
"""Errors of users and their systems; all others are bugs, which are shown with a traceback."""

INTERRUPTED = 130
"""The exit code of a program stopped by Ctrl-C: 128 + SIGINT."""
PIPE_CLOSED = 141
"""The exit code of a program whose reader closed the pipe: 128 + SIGPIPE."""

_PARAMETER = re.compile(r"`([a-z_][a-z0-9_]*)(?:=(True|False))?`")
_ELSEWHERE = re.compile(r"`([a-z-]+)\(([a-z_]+)\)`")


def show(error: BaseException, command: click.Command | None = None) -> int:
    """Print an error in one line, and return its exit code; `command` is the one that was running."""
    match error:
        case click.ClickException() if is_help(error):
            click.echo(error.format_message(), err=True)
            return error.exit_code
        case BrokenPipeError():
            # Python flushes stdout at exit, which would report the closed pipe again.
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
    """Return a message escaped and shortened for a terminal, as its names may be from untrusted files."""
    return shortened(visible(with_urls(text)))


def spelled(text: str, command: click.Command | None) -> str:
    """Return a text with parameters of a command spelled as options: `` `batch_size` `` as `--batch-size`.

    Arguments are spelled as their metavar, `` `graph=False` `` as its flag, and `` `import(into)` `` as the option of
    another command. Other texts in backticks are unchanged.

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
    """Spell a parameter of another command: `` `import(into)` `` as `` `ckpttool import --into` ``."""
    from ckpttool.cli import COMMANDS  # imports this module

    name, parameter = match.groups()
    return f"`ckpttool {name} --{parameter.replace('_', '-')}`" if name in COMMANDS else match[0]


def _flagged(parameter: click.Parameter) -> str | None:
    """Return the text of the value of a flag, None for other parameters."""
    if not getattr(parameter, "is_flag", False):
        return None
    return str(getattr(parameter, "flag_value", None) is not False)
