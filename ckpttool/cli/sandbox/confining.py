"""The files and folders that a confined command may use: those that it was given, and those of its outputs."""

import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import click
import platformdirs

from ckpttool.cli.options.general import Written
from ckpttool.confinement.confinement import Confinement
from ckpttool.formats.keras.scheme import is_application
from ckpttool.formats.tensorflow.prefix import STATE_FILE
from ckpttool.remote.paths import is_url, url_of

SPREAD = (".json", ".distcp")
"""Suffixes of files that belong to several: indexes, and parts with an index."""
FONTS = platformdirs.user_cache_path("matplotlib")
"""The folder that Matplotlib reads when it is imported."""


def make_fonts_known() -> None:
    """Let Matplotlib build its font cache in the temporary folder of a confined process, if the user has none yet."""
    if not FONTS.exists():
        os.environ.setdefault("MPLCONFIGDIR", tempfile.gettempdir())


def confinement_of(context: click.Context, readable: Iterable[Path] = (), writable: Iterable[Path] = ()) -> Confinement:
    """Return the confinement of a command: its inputs, its outputs, and the given readable and writable paths."""
    values = [each for value in context.params.values() for each in (value if isinstance(value, tuple) else (value,))]
    named = [Path(each) if isinstance(each, str) and os.path.isfile(each) else each for each in values]  # noqa: PTH113
    given = [value for value in named if isinstance(value, Path) and not is_application(value)]
    local = [path.absolute() for path in given if not is_url(path)]
    written = [path.absolute() for path in context.meta.get(Written.NOTED, ()) if not is_url(path)]
    return Confinement(
        readable=(*readable, *(each for path in local for each in _meant(path))),
        listed=tuple(path.parent for path in local),
        writable=(*(path if path.is_dir() else path.parent for path in written), *writable),
        network=any(is_url(path) or url_of(path) is not None for path in given),
    )


def _meant(path: Path) -> Iterator[Path]:
    """Yield the files that a path stands for: itself, and files whose names start with it, as those of a prefix."""
    if path.exists():
        yield path
    stem = re.sub(r"[*?\[{].*|\.(index|meta|data-\d.*)$", "", path.name)
    if stem and path.parent.is_dir():
        yield from (each for each in path.parent.iterdir() if each.name.startswith(stem) or each.name == STATE_FILE)
    if path.name.endswith(SPREAD) and path.is_file():
        from ckpttool.scanning.parts import read_with

        yield from read_with(path)
