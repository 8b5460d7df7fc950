"""What is logged and warned of while a command runs: it names files and tensors of strangers, so it is escaped too."""

import logging
import warnings
from typing import Any

import click

from ckpttool.cli.show.errors import for_terminal


class _Escaping(logging.Handler):
    """Prints what nobody else handles, as Python does, but in escapes."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print the message of a record."""
        click.echo(for_terminal(record.getMessage()), err=True)


def escape_logs() -> None:
    """Have whatever this process logs and warns of pass the escape that tables and errors pass."""
    logging.lastResort = _Escaping(logging.WARNING)
    warnings.formatwarning = _formatted


def _formatted(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> str:
    return f"{category.__name__}: {for_terminal(str(message))}\n"
