"""Latest: which checkpoints a run of training left in a folder, and which is the latest."""

from pathlib import Path
from typing import Any

from ckpttool.formats.tensorflow.prefix import checkpoints_in, latest_checkpoint
from ckpttool.model.resolve import Talk


def latest(folder: Path, say: Talk) -> Path:
    """Return the prefix of the checkpoint that a folder's `checkpoint` file names, else that of most steps.

    Raises:
        MissingFile: it is no folder, or has no checkpoint.
        FormatError: the file is damaged, or leads out of the folder.
    """
    return latest_checkpoint(folder, say)


def checkpoint_rows(folder: Path, say: Talk) -> list[dict[str, Any]]:
    """Return `{"prefix", "step", "written", "latest"}` of a folder's checkpoints, by their steps.

    Raises:
        MissingFile: it is no folder, or has no checkpoint.
        FormatError: the folder's `checkpoint` file is damaged, or leads out of it.
    """
    prefix = latest(folder, say)
    return [saved.row() | {"latest": saved.prefix == prefix} for saved in checkpoints_in(folder)]
