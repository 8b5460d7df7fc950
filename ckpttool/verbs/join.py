"""Join: a checkpoint in several files, as one file."""

from pathlib import Path

from ckpttool.checkpoint import Checkpoint
from ckpttool.model.checkpoint_plan import CheckpointPlan
from ckpttool.verbs.split import plan_split


def plan_join(source: Path | Checkpoint, output: Path) -> CheckpointPlan:
    """Plan what `join` writes: the same as `split`, without a limit on the file size.

    Raises:
        FormatError: the output's format cannot store a tensor.
    """
    return plan_split(source, output, shard_bytes=None)
