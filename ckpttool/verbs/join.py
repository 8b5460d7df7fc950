"""Join: a checkpoint that lies in several files, in one."""

from pathlib import Path

from ckpttool.checkpoint import Checkpoint
from ckpttool.model.checkpoint_plan import CheckpointPlan
from ckpttool.verbs.split import plan_split


def plan_join(source: Path | Checkpoint, output: Path) -> CheckpointPlan:
    """Plan what `join` writes: what `split` does, without a limit to the size of a file.

    Raises:
        FormatError: the output's format cannot hold a tensor.
    """
    return plan_split(source, output, shard_bytes=None)
