"""Running in a sandbox: an untrusted graph runs in a confined child, because kernels may be exploited by its values.

The child may read the files given to the command, and write its outputs; its output and exit code are the command's. A
graph is trusted if commands of this user made it from trusted graphs only.
"""

import contextlib
import os
import sys
from functools import wraps
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.decorators import Command
from ckpttool.cli.options.general import can_confine
from ckpttool.cli.options.reading import Source
from ckpttool.cli.sandbox.confining import FONTS, confinement_of, make_fonts_known
from ckpttool.cli.sandbox.own_graphs import TRUSTED, trusts
from ckpttool.confinement.child import Ended, go_on_confined
from ckpttool.confinement.confinement import Confinement
from ckpttool.core.errors import CkptError, Interrupted
from ckpttool.executors.registry import HERE, PROCESSES

_PROGRESSED = "ckpttool.progressed"
_KERAS = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "keras.json"
"""The file that Keras reads when it is imported."""


def running_confined(command: Command) -> Command:
    """Return a command that runs untrusted graphs in a sandboxed child, unless its new option `trust` is given."""

    @wraps(command)
    def confined(*, trust: bool, **given: Any) -> Any:
        context = click.get_current_context()
        context.meta[TRUSTED] = trust
        runs = given.get("data", True) is not None  # a merge without data runs no graph
        has_threads = "tensorflow" in sys.modules  # threads do not survive a fork
        if not runs or has_threads or not can_confine(context) or trusts(context):
            return command(**given)
        model = context.meta[Source.NOTED][0]
        child = go_on_confined(_confinement(context))
        if isinstance(child, Ended):
            if child.asked:
                raise Interrupted(f"interrupted: the process that ran the graph of {model} {child.why}", child.asked)
            if child.why:
                raise CkptError(f"{model}: the process that ran its graph {child.why}; `trust` removes the limits")
            context.exit(child.code)
        context.meta[_PROGRESSED] = child.progressed
        make_fonts_known()
        try:
            return command(**given)
        except (PermissionError, CkptError) as error:
            if not _is_of_confinement(error):
                raise
            what = f"{error.filename}: {error.strerror}" if isinstance(error, PermissionError) else str(error)
            why = f"{model}, which ckpttool did not write, runs with what it was given alone; `trust` lifts that"
            raise CkptError(f"{what}; {why}") from error

    return click.option(
        "--trust",
        is_flag=True,
        help="Run the graph as your own, without limits on files, memory, time and networks.",
    )(confined)


def progressed() -> None:
    """Signal progress to a parent process that waits for this one."""
    context = click.get_current_context(silent=True)
    if context and (give := context.meta.get(_PROGRESSED)):
        give()


def _is_of_confinement(error: Exception) -> bool:
    """Return whether an error is caused by the sandbox: permission is denied for a file that the user can read."""
    if isinstance(error, PermissionError):
        return error.filename is not None and os.access(error.filename, os.R_OK)
    return type(error.__cause__).__name__ == "PermissionDeniedError"


def _confinement(context: click.Context) -> Confinement:
    """Return the confinement of a command: the files that it was given, Keras's settings and the caches.

    Raises:
        CkptError: the command computes elsewhere, where nothing confines it.
    """
    from ckpttool.core.cache_folder import cache_folder

    if context.params.get("on") not in (None, HERE, PROCESSES):
        raise CkptError("`on`: a graph that ckpttool did not write is not confined there; `trust` allows it")
    if "cache_dir" in context.params:
        with contextlib.suppress(OSError):  # reported when it is needed
            cache_folder().mkdir(parents=True, exist_ok=True)
    return confinement_of(context, [_KERAS, FONTS], [cache_folder()])
