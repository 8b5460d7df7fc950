"""What was made of checkpoints, written: with the graph of the one that its tensors are from, where it fits."""

from pathlib import Path

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.formats import registry
from ckpttool.formats.format import PLAIN, Writing
from ckpttool.formats.tensorflow import checkpoint_state
from ckpttool.graph import files
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.model.model import write_model
from ckpttool.surgery.convert import left_behind, plan_convert, with_texts
from ckpttool.surgery.merging.agreement import Joined


def write_joined(joined: Joined, output: Path, overwrite: bool, note_latest: bool = False) -> list[str]:
    """Write what checkpoints became, as `write_with_graph` does; say what was left out, and what was written.

    `note_latest` makes it the latest checkpoint of its folder.
    """
    tensors, target = joined.tensors, registry.for_output(output)
    said = write_with_graph(tensors, output, overwrite, with_texts(tensors, target))
    if note_latest:
        checkpoint_state.write(output.parent, output)
    return [*left_behind(tensors, target), said]


def write_in_files(source: Path, output: Path, overwrite: bool, shard_bytes: int | None) -> list[str]:
    """Write a checkpoint in files of at most so many bytes, or in one; say what was left out, and what was written.

    Raises:
        CkptError: the output's format has one file only.
        FormatError: it cannot hold a tensor.
    """
    how = Writing(shard_bytes=shard_bytes)
    plan = plan_convert(checkpoint.open(source), registry.for_output(output).NAME, how=how)
    return [*plan.notes, write_with_graph(plan.tensors, output, overwrite, plan.how)]


def write_with_graph(tensors: Checkpoint, output: Path, overwrite: bool, how: Writing = PLAIN) -> str:
    """Write a checkpoint, whole or not at all, and read it back; say what was written.

    A bundle gets the `.meta` that lies beside the checkpoint that its tensors are from, if it has them all.

    Raises:
        ExistingOutput: the output is there and `overwrite` is not given.
        FormatError: the output's format cannot hold a tensor.
    """
    found = _graph_for(tensors, output)
    if found is None:
        checkpoint.save(tensors, output, overwrite=overwrite, how=how)
    else:
        write_model(found, tensors, output, overwrite, how)
    graph = "" if found is None else f", with the graph of {found.source}"
    nbytes = sum(spec.nbytes for spec in tensors.specs())
    return f"{output}: written and read back, {len(tensors)} tensors ({nbytes} bytes){graph}"


def _graph_for(tensors: Checkpoint, output: Path) -> Graph | None:
    """Return the graph that the output can have."""
    meta = Path(f"{tensors.path}.meta")
    if registry.for_output(output).NAME != "bundle" or not meta.is_file():
        return None
    graph = files.load(meta)
    return graph if stored_tensors(graph).keys() <= tensors.keys() else None
