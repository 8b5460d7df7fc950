"""A folder of what a long verb has done of its work, until all of it is: a run that was stopped goes on from there."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ckpttool.core.errors import CkptError, CorruptCheckpoint, ExistingOutput, PlanError
from ckpttool.formats.wire import checked_json
from ckpttool.formats.writing.files import replacing

ASKED = "asked.json"
"""What the work in a folder was asked for."""


@contextmanager
def unfinished(folder: Path, asked: Mapping[str, Any], resume: bool, overwrite: bool) -> Iterator[Path]:
    """Give a folder, empty unless a run goes on; it is gone when all is done, or nothing begun.

    Args:
        folder: The folder.
        asked: What the run is asked for; to go on with another it has to be the same.
        resume: Whether a run that was stopped goes on.
        overwrite: Whether what such a run has left is deleted.

    Raises:
        ExistingOutput: it holds what another run has done.
        PlanError: that run was asked for something else.
    """
    asked = json.loads(json.dumps(asked, default=str))
    if _is_begun(folder) and not (resume or overwrite):
        raise ExistingOutput(f"{folder} holds what a run has done: resume with `resume`, or `overwrite` it")
    if _is_begun(folder) and resume:
        _require_same(folder, asked)
    else:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        with replacing(folder / ASKED) as file:
            file.write(checked_json.dumps(asked))
    try:
        yield folder
    except CkptError:
        if not _is_begun(folder):
            shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)


def _is_begun(folder: Path) -> bool:
    """Say whether a folder has more in it than what it was asked for."""
    return folder.is_dir() and any(path.name != ASKED for path in folder.iterdir())


def _require_same(folder: Path, asked: Mapping[str, Any]) -> None:
    """Check that a run was asked for what is asked now.

    Raises:
        CorruptCheckpoint: what was asked is damaged.
        PlanError: it is something else.
    """
    try:
        before = checked_json.loads((folder / ASKED).read_bytes())
    except (OSError, ValueError) as error:
        raise CorruptCheckpoint(f"{folder / ASKED} is damaged: {error}; `overwrite` begins again") from error
    differ = [f"{key} was {before.get(key)}, now {asked[key]}" for key in asked if before.get(key) != asked[key]]
    if differ:
        raise PlanError(f"`resume`: {folder} is of a run with other options: {', '.join(differ)}")
