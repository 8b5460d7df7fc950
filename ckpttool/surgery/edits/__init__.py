"""Edits of a checkpoint: each is a pure function from a Checkpoint to a Checkpoint, and reads no value by itself.

`table.py` has them as the command line knows them, `steps.py` applies several in their order.
"""

from ckpttool.surgery.edits.names import add_prefix, drop, drop_slots, keep, rename, strip_prefix
from ckpttool.surgery.edits.quantising import dequantise, quantise
from ckpttool.surgery.edits.resizing import resize
from ckpttool.surgery.edits.shapes import pad, reshape, take_slice, transpose
from ckpttool.surgery.edits.values import cast, prune, set_value

__all__ = [
    "add_prefix",
    "cast",
    "dequantise",
    "drop",
    "drop_slots",
    "keep",
    "pad",
    "prune",
    "quantise",
    "rename",
    "reshape",
    "resize",
    "set_value",
    "strip_prefix",
    "take_slice",
    "transpose",
]
