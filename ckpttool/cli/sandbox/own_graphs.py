"""The user's own graphs: those that commands wrote from own or trusted graphs only."""

import contextlib
from typing import TYPE_CHECKING

import click
import platformdirs

from ckpttool.cli.options.general import Written
from ckpttool.cli.options.reading import Source

if TYPE_CHECKING:
    from ckpttool.model.known_graphs import KnownGraphs

TRUSTED = "ckpttool.trusted"
"""The key under which `--trust` is kept in Click's context."""


def note_outputs(context: click.Context) -> None:
    """Record the graphs that a command wrote as own, if all graphs that it read are own or trusted."""
    if trusts(context):
        for path in context.meta.get(Written.NOTED, ()):
            with contextlib.suppress(OSError):  # the user's folder may be read-only
                _known().add(path)


def trusts(context: click.Context) -> bool:
    """Return whether the graphs that a command reads are own or trusted, and so run without a sandbox."""
    trusted: bool = context.meta.get(TRUSTED, False)
    return trusted or all(map(_known().has, context.meta.get(Source.NOTED, ())))


def _known() -> "KnownGraphs":
    from ckpttool.model.known_graphs import KnownGraphs

    return KnownGraphs(platformdirs.user_state_path("ckpttool", appauthor=False) / "known-graphs.txt")
