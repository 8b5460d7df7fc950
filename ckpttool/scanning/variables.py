"""Variables: serialised graphs in the strings and bytes of a checkpoint, which DatasetFromGraph could run."""

from collections.abc import Iterator
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.core.dtypes import STRING
from ckpttool.core.errors import CkptError
from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.scanning.finding import Finding, Unread
from ckpttool.scanning.graphs import hidden_findings

LARGEST = 1 << 28
"""The maximum size in bytes of a tensor that is searched."""
BYTES = ("uint8", "int8")


def variable_findings(path: Path) -> Iterator[Finding | Unread]:
    """Yield findings for graphs in the values of a checkpoint, and an `Unread` for each tensor that cannot be read.

    Raises:
        CkptError: the checkpoint cannot be opened.
    """
    tensors = checkpoint.open(path)
    for name in tensors:
        tensor = tensors[name]
        if name == OBJECT_GRAPH or not (tensor.dtype is STRING or tensor.dtype.name in BYTES):
            continue
        try:
            if tensor.dtype is STRING:
                values = tensor.read().ravel().tolist()
                texts = [each if isinstance(each, bytes) else str(each).encode() for each in values]
            else:
                texts = [b"".join(map(bytes, tensor.pieces()))] if tensor.nbytes <= LARGEST else []
        except CkptError as error:
            yield Unread(path, str(error))
            continue
        for text in texts:
            yield from hidden_findings(text, path, name)
