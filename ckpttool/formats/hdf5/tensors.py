"""What a format that lies in an HDF5 file opens: some of its datasets, under the format's names for them."""

from collections.abc import Iterator, Mapping

from ckpttool.core.errors import CkptError
from ckpttool.core.tensors import STRING, Tensor
from ckpttool.formats.format import Checked, Tensors
from ckpttool.formats.hdf5.tree import Tree


class Hdf5Tensors(Tensors):
    """Datasets by their names; those without one are left out."""

    def __init__(self, tree: Tree, locations: Mapping[str, str], metadata: Mapping[str, str] | None = None) -> None:
        """Take a file's datasets, and the path in it of each name."""
        self.tree = tree
        self.locations = locations
        self.metadata = metadata or {}
        named = set(locations.values())
        self.left_out = tuple(path for path in tree.tensors if path not in named)

    def __getitem__(self, name: str) -> Tensor:
        return self.tree.tensors[self.locations[name]].renamed(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.locations)

    def __len__(self) -> int:
        return len(self.locations)

    def checked(self) -> Iterator[Checked]:
        """Read every dataset of the file, those too that are left out; HDF5 compares the checksums that there are."""
        for name, path in [*self.locations.items(), *zip(self.left_out, self.left_out, strict=True)]:
            tensor = self.tree.tensors[path]
            try:
                yield Checked(name, _length(tensor))
            except CkptError as error:
                yield Checked(name, 0, str(error))


def _length(tensor: Tensor) -> int:
    if tensor.dtype is STRING:
        return sum(map(len, tensor.read().ravel().tolist()))
    return sum(map(len, tensor.pieces()))
