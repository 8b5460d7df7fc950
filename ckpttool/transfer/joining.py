"""Checkpoints that become one, written: with the graph of the last of them, where the output can have one."""

from pathlib import Path

from ckpttool import checkpoint, formats
from ckpttool.checkpoint import Checkpoint
from ckpttool.formats.tensorflow import checkpoint_state
from ckpttool.graph import files
from ckpttool.graph.stored import stored_tensors
from ckpttool.surgery.merging.agreement import Joined
from ckpttool.transfer.model import write_model


def write_joined(joined: Joined, output: Path, overwrite: bool, note_latest: bool = False) -> str:
    """Write what checkpoints became, whole or not at all, and read it back; say what was written.

    A bundle gets the `.meta` that lies beside the checkpoint that its tensors are from, if it has them all.
    `note_latest` makes it the latest checkpoint of its folder.

    Raises:
        ExistingOutput: the output is there and `overwrite` is not given.
        FormatError: the output's format cannot hold a tensor.
    """
    meta = _meta_for(joined.tensors, output)
    if meta is None:
        checkpoint.save(joined.tensors, output, overwrite=overwrite)
    else:
        write_model(files.load(meta), joined.tensors, output, overwrite)
    if note_latest:
        checkpoint_state.write(output.parent, output)
    graph = "" if meta is None else f", with the graph of {meta}"
    return f"{output}: written and read back, {len(joined.tensors)} tensors ({joined.nbytes} bytes){graph}"


def _meta_for(tensors: Checkpoint, output: Path) -> Path | None:
    """Return the `.meta` that the output can have."""
    meta = Path(f"{tensors.path}.meta")
    if formats.for_output(output).NAME != "bundle" or not meta.is_file():
        return None
    return meta if stored_tensors(files.load(meta)).keys() <= tensors.keys() else None
