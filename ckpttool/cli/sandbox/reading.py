"""Reading in a sandbox: the HDF5 library is written in C, and a crafted file may exploit it.

A command that only reads files continues in a forked child, which the kernel restricts to the given files, without
network and with limited memory; its output and exit code are the command's. If no file is HDF5, everything is read by
Python code, and no child is needed.
"""

import os
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.decorators import Command
from ckpttool.cli.options.general import can_confine
from ckpttool.cli.options.reading import Source
from ckpttool.core.errors import CkptError
from ckpttool.formats.hdf5.source import is_hdf5
from ckpttool.formats.reading.archive import is_zip, member_names

MAP = ".weights.json"
"""The suffix of the files that list the HDF5 files of a sharded Keras model."""


def reading_confined(command: Command) -> Command:
    """Return a command that reads HDF5 in a sandboxed child, unless its new option `in_process` is given."""
    return _confined(command, lambda context: [*filter(_has_hdf5, context.meta.get(Source.NOTED, ()))])


def reading_confined_always(command: Command) -> Command:
    """Return a command that always reads in a sandboxed child, because it searches folders whose files are unknown."""
    return _confined(command, lambda context: context.params["paths"])


def _confined(command: Command, at_risk: Callable[[click.Context], Iterable[Path]]) -> Command:
    @wraps(command)
    def confined(*, in_process: bool, **given: Any) -> Any:
        context = click.get_current_context()
        runs = given.get("outputs", False) or given.get("data") is not None  # runs TensorFlow
        files = [] if in_process or runs or not can_confine(context) else list(at_risk(context))
        if not files:
            return command(**given)
        from ckpttool.cli.sandbox.confining import FONTS, confinement_of, make_fonts_known
        from ckpttool.confinement.child import Ended, go_on_confined

        child = go_on_confined(confinement_of(context, [FONTS]))
        if isinstance(child, Ended):
            if child.why:
                named = ", ".join(map(str, files))
                raise CkptError(f"{named}: the process that read it {child.why}; `in_process` reads it in this one")
            context.exit(child.code)
        make_fonts_known()
        try:
            return command(**given)
        except PermissionError as error:
            if error.filename is None or not os.access(error.filename, os.R_OK):
                raise
            why = f"{files[0]} is read with what was given alone; `in_process` lifts that"
            raise CkptError(f"{error.filename}: {error.strerror}; {why}") from error

    return click.option(
        "--in-process", is_flag=True, help="Read HDF5 in this process, not in one without other files and networks."
    )(confined)


def _has_hdf5(path: Path) -> bool:
    """Return whether a file is HDF5, or a zip that contains HDF5, as Keras's files do."""
    try:
        if path.name.endswith(MAP):
            return True
        if is_zip(path):
            names = member_names(path)
            return names is None or any(name.endswith((".h5", ".hdf5")) for name in names)
        return is_hdf5(path)
    except (OSError, ValueError, CkptError):
        return False  # the error is reported when it is opened
