"""The checkpoints of a training run in a folder, and the latest of them."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ckpttool.core.errors import MissingFile
from ckpttool.core.plain_files import is_file
from ckpttool.formats.tensorflow.prefix import STATE_FILE, V1_SHARD, is_there, recorded_checkpoint
from ckpttool.formats.wire.table import is_table
from ckpttool.formats.writing.staging import settle
from ckpttool.remote.paths import is_remote

_STEP = re.compile(r"-(\d+)(\.ckpt)?\Z")
"""The step in the names of a run's checkpoints: model.ckpt-1000, ckpt-5, and Keras's cp-0005.ckpt."""


@dataclass(frozen=True)
class FolderCheckpoint:
    """A checkpoint of a folder: its prefix, the step in its name, and the time its index was written, in Unix seconds.

    The time is None for a checkpoint at a URL.
    """

    prefix: Path
    step: int | None
    time: float | None

    def row(self) -> dict[str, Any]:
        """Return the columns of a table; the time is in UTC."""
        time = None if self.time is None else datetime.fromtimestamp(self.time, UTC)
        written = time and time.isoformat(" ", "seconds")
        return {"prefix": str(self.prefix), "step": self.step, "written": written}


def checkpoints_in(folder: Path) -> list[FolderCheckpoint]:
    """Return TensorFlow's checkpoints in a folder, sorted by step, then by time; those without a step come first.

    Raises:
        MissingFile: it is no folder, or contains none.
    """
    _require_folder(folder)
    checkpoints: dict[Path, FolderCheckpoint] = {}
    for file in folder.iterdir():
        if (prefix := _begun_by(file)) is not None:
            step = _STEP.search(prefix.name)
            time = None if is_remote(file) else file.stat().st_mtime
            checkpoints[prefix] = FolderCheckpoint(prefix, int(step[1]) if step else None, time)
    if not checkpoints:
        below = sorted({path.parent.name for path in folder.glob("*/*.index")})
        hint = f"; look in {', '.join(below[:5])}" if below else ""
        raise MissingFile(f"{folder} is a folder without a checkpoint: no .index is in it{hint}")
    return sorted(checkpoints.values(), key=lambda each: (-1 if each.step is None else each.step, each.time or 0))


def _begun_by(file: Path) -> Path | None:
    """Return the prefix of a checkpoint, given its index or a file of version 1; None for other files."""
    if file.name.endswith(".index"):
        return file.with_name(file.name.removesuffix(".index")) if file.is_file() else None
    prefix = file.with_name(V1_SHARD.sub("", file.name))
    named = prefix != file or _STEP.search(prefix.name) or file.suffix == ".ckpt" or is_file(f"{file}.meta")
    return prefix if named and file.is_file() and is_table(file) else None


def latest_checkpoint(folder: Path, say: Callable[[str], None]) -> Path:
    """Return the prefix of the latest checkpoint according to a folder's `checkpoint` file, or else by the step.

    `say` is called with the reason if the file cannot be used.

    Raises:
        MissingFile: it is no folder, or contains no checkpoint.
        FormatError: the file is damaged, or names a path outside of the folder.
    """
    _require_folder(folder)
    try:
        prefix = recorded_checkpoint(folder)
        if is_there(prefix):
            return prefix.with_name(V1_SHARD.sub("", prefix.name))
        raise MissingFile(f"{folder / STATE_FILE} refers to {prefix}, which is missing")
    except MissingFile as error:
        prefix = checkpoints_in(folder)[-1].prefix
        say(f"{error}; {prefix.name} is the checkpoint with the most steps")
        return prefix


def _require_folder(folder: Path) -> None:
    if not folder.is_dir():
        raise MissingFile(f"{folder}: {'not a folder' if folder.exists() else 'no such folder'}")
    settle(folder)
