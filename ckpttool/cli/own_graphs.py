"""Which graphs are this user's own: those that commands wrote of nothing but their like, or of what was trusted."""

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
    """Note the graphs that a command wrote, if all that it read are known or trusted."""
    if trusts(context):
        for path in context.meta.get(Written.NOTED, ()):
            with contextlib.suppress(OSError):  # the user's folder may be read only
                _known().add(path)


def trusts(context: click.Context) -> bool:
    """Return whether a command may run its graphs as the user's own."""
    trusted: bool = context.meta.get(TRUSTED, False)
    return trusted or all(map(_known().has, context.meta.get(Source.NOTED, ())))


def _known() -> "KnownGraphs":
    from ckpttool.model.known_graphs import KnownGraphs

    return KnownGraphs(platformdirs.user_state_path("ckpttool", appauthor=False) / "known-graphs.txt")
