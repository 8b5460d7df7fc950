"""Weights from a file of any kind, by logical names: HDF5 of Keras or of anyone, or a checkpoint."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.errors import FormatError, MissingFile
from ckpttool.foreign.keras import is_keras, keras_tensors
from ckpttool.formats.hdf5 import Tree, is_hdf5, read_tree
from ckpttool.tensors import Tensor


@dataclass(frozen=True)
class Weights(Mapping[str, Tensor]):
    """Named tensors of a file, read when asked; `left_out` has what the file holds beside weights."""

    path: Path
    tensors: Mapping[str, Tensor]
    left_out: tuple[str, ...] = ()

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


def open_weights(path: str | Path) -> Weights:
    """Open a file of weights; its bytes say of which kind it is.

    Raises:
        MissingFile: there is none.
        FormatError: it is of no kind that is read, or unsafe to read.
        CorruptCheckpoint: it is damaged.
    """
    path = Path(path)
    if path.is_file() and is_hdf5(path):
        return _from_tree(read_tree(path))
    if path.suffix in (".h5", ".hdf5") and path.exists():
        raise FormatError(f"{path} is not an HDF5 file, though its name says so")
    if path.suffix in (".h5", ".hdf5"):
        raise MissingFile(f"{path} is missing: no such file")
    return Weights(path, checkpoint.open(path))


def _from_tree(tree: Tree) -> Weights:
    """Return the weights of an HDF5 file: Keras's by its own names, else each dataset by its path without `:0`."""
    if is_keras(tree):
        tensors, rest = keras_tensors(tree)
        return Weights(tree.path, tensors, tuple(rest))
    named = {path: path.removesuffix(":0") for path in tree.tensors}
    if len(set(named.values())) < len(named):
        twice = next(path for path in named if not path.endswith(":0") and f"{path}:0" in named)
        raise FormatError(f"{tree.path}: {twice} and {twice}:0 would both be named {twice}")
    return Weights(tree.path, {name: tree.tensors[path].renamed(name) for path, name in named.items()})
