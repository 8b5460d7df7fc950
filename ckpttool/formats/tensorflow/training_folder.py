"""The checkpoints that a run of training left in a folder: which there are, of which step, and which is the latest."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ckpttool.core.errors import MissingFile
from ckpttool.formats.tensorflow import checkpoint_state
from ckpttool.formats.tensorflow.bundle_files import BundleFiles
from ckpttool.remote.paths import is_remote

_STEP = re.compile(r"-(\d+)(\.ckpt)?\Z")
"""How the names of a run's checkpoints end: model.ckpt-1000, ckpt-5, and Keras's cp-0005.ckpt."""


@dataclass(frozen=True)
class Saved:
    """A checkpoint of a folder: its prefix, the step in its name, and when its index was written, in seconds.

    Of one at a URL that is not known.
    """

    prefix: Path
    step: int | None
    time: float | None

    def row(self) -> dict[str, Any]:
        """Return the fields for output, the time in UTC."""
        time = None if self.time is None else datetime.fromtimestamp(self.time, UTC)
        written = time and time.isoformat(" ", "seconds")
        return {"prefix": str(self.prefix), "step": self.step, "written": written}


def saved_in(folder: Path) -> list[Saved]:
    """Return the bundles of a folder by their steps, then by time; those without a step come first.

    Raises:
        MissingFile: it is no folder, or has none.
    """
    _require_folder(folder)
    found = [_saved(path) for path in folder.iterdir() if path.name.endswith(".index") and path.is_file()]
    if not found:
        below = sorted({path.parent.name for path in folder.glob("*/*.index")})
        hint = f"; look in {', '.join(below[:5])}" if below else ""
        raise MissingFile(f"{folder} is a folder without a checkpoint: no .index is in it{hint}")
    return sorted(found, key=lambda saved: (-1 if saved.step is None else saved.step, saved.time or 0))


def latest_in(folder: Path, say: Callable[[str], None]) -> Path:
    """Return the prefix of the checkpoint that a folder's `checkpoint` file names, else that of most steps.

    `say` is told where the file does not help.

    Raises:
        MissingFile: it is no folder, or has no checkpoint.
        FormatError: the file is damaged, or leads out of the folder.
    """
    _require_folder(folder)
    try:
        return _noted(folder)
    except MissingFile as error:
        prefix = saved_in(folder)[-1].prefix
        say(f"{error}; {prefix.name} is the checkpoint of most steps")
        return prefix


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise MissingFile(f"{folder} is not a folder")


def _noted(folder: Path) -> Path:
    prefix = checkpoint_state.latest(folder)
    if not (BundleFiles.of(prefix).index.is_file() or prefix.is_file()):
        raise MissingFile(f"{folder / checkpoint_state.NAME} names {prefix}, which is not there")
    return prefix


def _saved(index: Path) -> Saved:
    prefix = index.with_name(index.name.removesuffix(".index"))
    step = _STEP.search(prefix.name)
    return Saved(prefix, int(step[1]) if step else None, None if is_remote(index) else index.stat().st_mtime)
