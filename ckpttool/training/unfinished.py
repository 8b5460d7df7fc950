"""A folder with the partial results of a long verb, from which an interrupted run resumes."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ckpttool.core.errors import CkptError, CorruptCheckpoint, ExistingOutput, PlanError
from ckpttool.formats.wire import checked_json
from ckpttool.formats.writing.files import replacing
from ckpttool.formats.writing.temporary import is_temporary, remove_folder

ASKED = "asked.json"
"""The file with the options of the work in a folder."""


@contextlib.contextmanager
def unfinished(folder: Path, asked: Mapping[str, Any], resume: bool, overwrite: bool) -> Iterator[Path]:
    """Provide a folder, empty unless a run is resumed; it is deleted when all is done, or nothing was started.

    The commit of the output should delete it already (`staged_output(done=...)`): a run that is killed right after its
    commit has nothing left to resume.

    Args:
        folder: The folder.
        asked: The options of the run, which must be the same to resume.
        resume: Whether to resume an interrupted run.
        overwrite: Whether to delete the results of an interrupted run.

    Raises:
        ExistingOutput: it contains the results of another run.
        PlanError: the run to resume has other options.
    """
    asked = json.loads(json.dumps(asked, default=str))
    if _is_begun(folder) and not (resume or overwrite):
        raise ExistingOutput(f"{folder} holds what a run has done: resume with `resume`, or `overwrite` it")
    if _is_begun(folder) and resume:
        _require_same(folder, asked)
    else:
        remove_folder(folder)
        folder.mkdir(parents=True)
        with replacing(folder / ASKED) as file:
            file.write(checked_json.dumps(asked))
    try:
        yield folder
    except CkptError:
        if not _is_begun(folder):
            remove_folder(folder)
        raise
    remove_folder(folder)


def _is_begun(folder: Path) -> bool:
    """Return whether a folder contains more than the file with the options, and what a killed run did not finish."""
    return folder.is_dir() and any(path.name != ASKED and not is_temporary(path.name) for path in folder.iterdir())


def _require_same(folder: Path, asked: Mapping[str, Any]) -> None:
    """Check that an interrupted run had the same options.

    Raises:
        CorruptCheckpoint: the file with its options is damaged.
        PlanError: they differ.
    """
    try:
        before = checked_json.loads((folder / ASKED).read_bytes())
    except (OSError, ValueError) as error:
        raise CorruptCheckpoint(f"{folder / ASKED} is damaged: {error}; `overwrite` begins again") from error
    differ = [f"{key} was {before.get(key)}, now {asked[key]}" for key in asked if before.get(key) != asked[key]]
    if differ:
        raise PlanError(f"`resume`: {folder} is of a run with other options: {', '.join(differ)}")
