"""Latest: the checkpoints of a training run in a folder, and the latest of them."""

from pathlib import Path
from typing import Any

from ckpttool.formats.tensorflow.folder import checkpoints_in, latest_checkpoint
from ckpttool.model.resolve import Talk


def latest(folder: Path, say: Talk) -> Path:
    """Return the prefix of the checkpoint in a folder's `checkpoint` file, else of the one with the most steps.

    Raises:
        MissingFile: it is not a folder, or contains no checkpoint.
        FormatError: the file is damaged, or refers to a path outside the folder.
    """
    return latest_checkpoint(folder, say)


def checkpoint_rows(folder: Path, say: Talk) -> list[dict[str, Any]]:
    """Return `{"prefix", "step", "written", "latest"}` of a folder's checkpoints, ordered by step.

    Raises:
        MissingFile: it is not a folder, or contains no checkpoint.
        FormatError: the folder's `checkpoint` file is damaged, or refers to a path outside it.
    """
    prefix = latest(folder, say)
    return [saved.row() | {"latest": saved.prefix == prefix} for saved in checkpoints_in(folder)]
