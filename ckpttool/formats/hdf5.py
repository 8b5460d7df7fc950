"""HDF5 files: every dataset of a file, found without following anything out of it, and read when asked.

HDF5 can point elsewhere (external links and storage, virtual datasets) and can claim shapes that no bytes stand for;
both are refused before anything is read, each part of a path on its own.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.errors import CorruptCheckpoint, FormatError, MissingFile
from ckpttool.tensors import BY_NAME, STRING, Array, DType, Tensor, TensorSpec, dtype_of

MAGIC = b"\x89HDF\r\n\x1a\n"
DEEPEST = 64
"""Groups within groups; more is a loop or an attack."""
MOST_UNPACKED = 1100
"""How many bytes one stored byte may become: deflate's limit is 1,032."""
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset", 32000: "lzf"}
"""The filters that h5py brings along; any other would be a plug-in found on the machine."""
_FAULTS = (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeDecodeError)


@dataclass
class Tree:
    """What an HDF5 file holds: its datasets as tensors by path, and the attributes of its groups by path."""

    path: Path
    tensors: dict[str, Tensor] = field(default_factory=dict)
    attributes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def texts(self, group: str, key: str) -> list[str] | None:
        """Return an attribute that lists names, bytes or text; Keras splits long ones into key0, key1, ..."""
        found = self.attributes.get(group, {})
        parts = [found[key]] if key in found else []
        while not parts or f"{key}{len(parts)}" in found:
            if f"{key}{len(parts)}" not in found:
                return None
            parts.append(found[f"{key}{len(parts)}"])
        return [text_of(item) for part in parts for item in np.atleast_1d(np.asarray(part, object)).tolist()]


def is_hdf5(path: Path) -> bool:
    """Say whether a file begins as HDF5 does; the suffix may say something else."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def read_tree(path: Path) -> Tree:
    """List a file's datasets and attributes; the values stay on the disk until a tensor is read.

    Raises:
        MissingFile: there is no such file.
        FormatError: it is not HDF5, it points out of itself, or claims more than it holds.
        CorruptCheckpoint: it is damaged.
    """
    if not path.is_file():
        raise MissingFile(f"{path} is missing: no such file")
    if not is_hdf5(path):
        raise FormatError(f"{path} is not an HDF5 file")
    tree = Tree(path)
    with _opened(path) as file:
        _Walk(tree, path.stat().st_size).group(file, "", ())
    return tree


def text_of(value: Any) -> str:
    """Return a name as text, whether the file has it as bytes or text."""
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else str(value)


class _Walk:
    """One walk through a file: every link is looked at before it is followed."""

    def __init__(self, tree: Tree, size: int) -> None:
        self.tree = tree
        self.size = size

    def group(self, group: Any, path: str, above: tuple[int, ...]) -> None:
        """Take in a group: its attributes, its datasets, the groups in it."""
        address = _address(group)
        if address in above or len(above) > DEEPEST:
            raise FormatError(f"{self.tree.path}: the groups of {path} go round in a circle, or too deep")
        self.tree.attributes[path] = self._attributes(group)
        for name in group:
            here = f"{path}/{name}" if path else name
            self._member(self._follow(group, name, here), here, (*above, address))

    def _member(self, member: Any, path: str, above: tuple[int, ...]) -> None:
        import h5py

        if isinstance(member, h5py.Group):
            self.group(member, path, above)
        elif isinstance(member, h5py.Dataset):
            self.tree.tensors[path] = self._tensor(member, path)
        else:
            raise FormatError(f"{self.tree.path}: {path} is neither a group nor a dataset")

    def _follow(self, group: Any, name: str, path: str, steps: int = 0) -> Any:
        """Return what a link leads to, where it stays in the file; soft links are taken one part at a time."""
        import h5py

        link = group.get(name, getlink=True)
        if isinstance(link, h5py.HardLink):
            return group[name]
        if not isinstance(link, h5py.SoftLink) or steps > DEEPEST:
            raise FormatError(f"{self.tree.path}: {path} is a link out of the file, which is never followed")
        found = group.file if link.path.startswith("/") else group
        for part in (part for part in link.path.split("/") if part not in ("", ".")):
            if not isinstance(found, h5py.Group) or part not in list(found):
                raise FormatError(f"{self.tree.path}: {path} is a link to {link.path}, which is not in the file")
            found = self._follow(found, part, path, steps + 1)
        return found

    def _attributes(self, group: Any) -> dict[str, Any]:
        """Return a group's attributes that hold numbers or texts; references and others are left."""
        return {text_of(key): group.attrs[key] for key in group.attrs if _is_plain(group.attrs.get_id(key).dtype)}

    def _tensor(self, dataset: Any, path: str) -> Tensor:
        """Check a dataset against the file, and return it as a tensor that opens the file again to be read."""
        if dataset.is_virtual or dataset.external:
            raise FormatError(f"{self.tree.path}: {path} keeps its values in another file, which is never read")
        if dataset.shape is None:
            raise FormatError(f"{self.tree.path}: {path} has no shape (a null dataset)")
        unknown = [number for number in _filters(dataset) if number not in FILTERS]
        if unknown:
            raise FormatError(f"{self.tree.path}: {path} is packed with filter {unknown[0]}, which is not known")
        self._check_size(dataset, path)
        spec = TensorSpec(path, tuple(dataset.shape), self._dtype(dataset, path))
        return Tensor(spec, partial(_read, self.tree.path, str(dataset.name), spec))

    def _check_size(self, dataset: Any, path: str) -> None:
        """Hold the shape against the bytes that are stored."""
        stored = dataset.id.get_storage_size()
        ratio = MOST_UNPACKED if _filters(dataset) else 1
        if dataset.nbytes > self.size and dataset.nbytes > stored * ratio:
            shape = list(dataset.shape)
            raise CorruptCheckpoint(
                f"{self.tree.path}: {path} is said to be {dataset.dtype} {shape}, {stored} bytes are stored for it"
            )

    def _dtype(self, dataset: Any, path: str) -> DType:
        """Return a dataset's element type; Keras marks bfloat16, which HDF5 does not know, by an attribute."""
        kind = dataset.dtype
        if kind == np.dtype("V2") and text_of(dataset.attrs.get("dtype", "")) == "bfloat16":
            return BY_NAME["bfloat16"]
        if not _is_plain(kind):
            raise FormatError(f"{self.tree.path}: {path} holds {kind}, neither numbers nor texts")
        return STRING if kind.kind in "OSU" else dtype_of(np.empty(0, kind.newbyteorder("=")))


def _is_plain(kind: Any) -> bool:
    """Say whether an element type is a number or a text; references and lists in a cell are not."""
    import h5py

    if kind.kind == "O":
        return h5py.check_string_dtype(kind) is not None
    return kind.kind in "SU" or kind.newbyteorder("=").name in BY_NAME


def _filters(dataset: Any) -> list[int]:
    """Return the numbers of the filters that a dataset is packed with."""
    properties = dataset.id.get_create_plist()
    return [properties.get_filter(place)[0] for place in range(properties.get_nfilters())]


def _address(group: Any) -> int:
    import h5py

    return int(h5py.h5o.get_info(group.id).addr)


def _read(path: Path, name: str, spec: TensorSpec) -> Array:
    """Read one dataset; it has to be what it was when the file was listed."""
    with _opened(path) as file:
        dataset = file[name]
        if tuple(dataset.shape) != spec.shape:
            raise CorruptCheckpoint(f"{path}: {spec.name} changed while the file was read")
        array = np.asarray(dataset[()])
    if spec.dtype == BY_NAME["bfloat16"]:
        return array.view(spec.dtype.numpy)
    return array.astype(object) if spec.dtype == STRING else array.astype(array.dtype.newbyteorder("="), copy=False)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """Open a file to read; what the library reports of a damaged one becomes one line."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            yield file
    except (FormatError, MissingFile):
        raise
    except _FAULTS as error:
        raise CorruptCheckpoint(f"{path}: HDF5 cannot read it: {' '.join(str(error).split())}") from error
