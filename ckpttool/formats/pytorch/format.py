"""PyTorch's `.pt`, `.pth` and `.bin`: a checkpoint in one file, or in several with an index."""

from pathlib import Path

from ckpttool.formats.format import Format
from ckpttool.formats.pytorch.archive import is_torch
from ckpttool.formats.pytorch.records import DTYPES
from ckpttool.formats.pytorch.shards import INDEX_SUFFIX, SINGLE, ShardedTorch, locate
from ckpttool.formats.pytorch.tensors import TorchTensors


class Torch(Format):
    """The format of `torch.save`."""

    NAME = "torch"
    LIMITS = "is read only: save safetensors, which PyTorch users load with `safetensors.torch.load_file`"
    WRITES = False
    INSTEAD = "files of torch.save are read only; --to safetensors writes what PyTorch loads too"
    HOLDS = frozenset(dtype.name for dtype in DTYPES.values())

    def recognises(self, path: Path) -> bool:
        """Say whether there is a file of `torch.save`, of now or of old, or an index of some: at the path or in it."""
        if path.is_dir():
            return any(path.glob(f"*{INDEX_SUFFIX}")) or any(path.glob(SINGLE))
        found = locate(path)
        return found is not None and (found.name.endswith(INDEX_SUFFIX) or is_torch(found))

    def open(self, path: Path) -> TorchTensors | ShardedTorch:
        """List the tensors; `TorchTensors` and `ShardedTorch` say what is raised."""
        found = locate(path) or path
        return ShardedTorch(found) if found.name.endswith(INDEX_SUFFIX) else TorchTensors(found)
