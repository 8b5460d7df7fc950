"""Logs and warnings of a command, escaped for terminals, as they name untrusted files and tensors."""

import logging
import warnings
from typing import Any

import click

from ckpttool.cli.show.errors import for_terminal


class _Escaping(logging.Handler):
    """The handler of last resort, as Python's, but with escaped messages."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message of a record."""
        click.echo(for_terminal(record.getMessage()), err=True)


def escape_logs() -> None:
    """Escape all logs and warnings of this process, as tables and errors are."""
    logging.lastResort = _Escaping(logging.WARNING)
    warnings.formatwarning = _formatted


def _formatted(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> str:
    return f"{category.__name__}: {for_terminal(str(message))}\n"
