"""Split: a checkpoint in several files of at most a given size; and `join`, its inverse."""

from pathlib import Path

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.formats import registry
from ckpttool.formats.format import Writing
from ckpttool.model.checkpoint_plan import CheckpointPlan, graph_alongside
from ckpttool.surgery.convert import plan_convert


def plan_split(source: Path | Checkpoint, output: Path, shard_bytes: int | None) -> CheckpointPlan:
    """Plan what `split` writes: files of at most `shard_bytes` each; a larger tensor gets a file of its own.

    Raises:
        CkptError: the output's format does not allow several files.
        FormatError: it cannot store a tensor.
    """
    to = registry.for_output(output).NAME
    opened = source if isinstance(source, Checkpoint) else checkpoint.open(source)
    converted = plan_convert(opened, to, how=Writing(shard_bytes=shard_bytes))
    graph, notes = graph_alongside(converted.tensors, to)
    return CheckpointPlan(converted.tensors, to, converted.rows, (*converted.notes, *notes), converted.how, graph)
