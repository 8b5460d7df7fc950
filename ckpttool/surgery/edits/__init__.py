"""Edits of a checkpoint: a class each, in the table by which the command line and scripts know them."""

from ckpttool.surgery.edits.arithmetic import Clamp, Scale
from ckpttool.surgery.edits.batch_norm import FoldBatchNorm
from ckpttool.surgery.edits.edit import Edit
from ckpttool.surgery.edits.folding import FoldAdapter, FoldParametrisations
from ckpttool.surgery.edits.laying_out import LayOut, LayOutBack
from ckpttool.surgery.edits.names import AddPrefix, Copy, Drop, DropSlots, Keep, Rename, StripPrefix
from ckpttool.surgery.edits.pruning import Prune
from ckpttool.surgery.edits.quantising import Dequantise, Quantise
from ckpttool.surgery.edits.reducing import Reduce
from ckpttool.surgery.edits.resizing import Resize
from ckpttool.surgery.edits.shapes import Pad, Reshape, Slice, Transpose
from ckpttool.surgery.edits.splitting import FuseParts, SplitParts
from ckpttool.surgery.edits.values import Averages, Cast, SetValue

__all__ = [
    "EDITS",
    "AddPrefix",
    "Averages",
    "Cast",
    "Clamp",
    "Copy",
    "Dequantise",
    "Drop",
    "DropSlots",
    "Edit",
    "FoldAdapter",
    "FoldBatchNorm",
    "FoldParametrisations",
    "FuseParts",
    "Keep",
    "LayOut",
    "LayOutBack",
    "Pad",
    "Prune",
    "Quantise",
    "Reduce",
    "Rename",
    "Reshape",
    "Resize",
    "Scale",
    "SetValue",
    "Slice",
    "SplitParts",
    "StripPrefix",
    "Transpose",
]

_KINDS: tuple[type[Edit], ...] = (
    Keep,
    Drop,
    DropSlots,
    Rename,
    Copy,
    AddPrefix,
    StripPrefix,
    Cast,
    Transpose,
    Reshape,
    Slice,
    Pad,
    Resize,
    Reduce,
    SplitParts,
    FuseParts,
    LayOut,
    LayOutBack,
    Prune,
    Scale,
    Clamp,
    SetValue,
    Averages,
    Quantise,
    Dequantise,
    FoldAdapter,
    FoldBatchNorm,
    FoldParametrisations,
)
EDITS = {kind.name: kind for kind in _KINDS}
"""Every edit by its name, in the order in which help lists them."""
