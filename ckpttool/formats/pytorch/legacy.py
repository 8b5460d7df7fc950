"""Files of PyTorch before 1.6, which are not zips: pickles one after another, then the bytes of the storages.

Since 0.2 a magic number, a protocol version, a description of the system, the value and the keys of its storages are a
pickle each. Before, the file was a tar of `storages`, `tensors` and a `pickle` that refers to tensors by number
(torch/serialization.py, `_legacy_load`). Bytes are little-endian, after the number of elements
(torch/csrc/serialization.cpp). There are no checksums.
"""

import re
import struct
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from ckpttool.core.counts import counted
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.format import Checked
from ckpttool.formats.pytorch.archive import interpreted
from ckpttool.formats.pytorch.makers import is_size, storage, storage_of, tensor_of
from ckpttool.formats.pytorch.modules import Classes
from ckpttool.formats.pytorch.records import Global, Storage, Unread, View
from ckpttool.formats.reading.data_file import ByteRange, CheckpointFile
from ckpttool.remote import sparse_files

MAGIC = re.compile(rb"\x80[\2-\5](\x95.{8})?\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", re.DOTALL)
"""The pickled magic number."""
TAR = re.compile(rb"(\./)?(sys_info|pickle|storages|tensors)\0.{245,251}ustar", re.DOTALL)
MEMBERS = ("storages", "tensors", "pickle")
COUNT = struct.Struct("<q")
RANK_LIMIT = 64
COUNT_LIMIT = 1_000_000
"""The members of a tar with storages and tensors."""


def is_old(path: Path) -> bool:
    """Return whether a file is older than PyTorch's zip files."""
    if not path.is_file():
        return False
    with sparse_files.opened(path) as file:
        start = file.read(512)
    return MAGIC.match(start) is not None or TAR.match(start) is not None


class OldFile:
    """An open file: the value of its pickle, and the places of its storages."""

    big = False

    def __init__(self, path: Path) -> None:
        """Open the file; `value` reads it."""
        self.path = path
        self.file = CheckpointFile(path)
        self.places: dict[str, ByteRange] = {}

    def value(self) -> Any:
        """Return the pickle's value as records, and find the bytes of the storages.

        Raises:
            FormatError: the pickle refers to a function that could act, or data follows, such as another checkpoint.
            CorruptCheckpoint: it is damaged or truncated.
        """
        with sparse_files.opened(self.path) as file:
            is_tar = TAR.match(file.read(512)) is not None
            file.seek(0)
            return self._of_tar(file) if is_tar else self._of_pickles(file)

    def classes(self) -> Classes:
        """Return an empty mapping, as these files contain no programs."""
        return {}

    def require(self, storage: Storage) -> None:
        """Check that a storage exists, with the number of bytes that the pickle declares.

        Raises:
            CorruptCheckpoint: it is missing, or its size differs.
        """
        place = self.places.get(storage.key)
        storage.require(self.path, place.size if place else None)

    def storage(self, storage: Storage, name: str) -> Iterator[bytes]:
        """Yield the bytes of a storage, read for the tensor `name`.

        Raises:
            CorruptCheckpoint: the file changed.
        """
        yield from self.part(storage, name, 0, self.places[storage.key].size)

    def part(self, storage: Storage, name: str, offset: int, size: int) -> Iterator[bytes]:
        """Yield a range of bytes of a storage."""
        yield from self.file.stream(name, ByteRange(self.places[storage.key].offset + offset, size))
        self.file.require_unchanged()

    def rest(self, held: Iterable[Storage]) -> Iterator[Checked]:
        """Read the storages of skipped values."""
        used = {storage.key for storage in held}
        for key, place in self.places.items():
            if key not in used:
                yield Checked.of(f"storage {key}", self.file.stream(key, place))

    def _of_pickles(self, file: IO[bytes]) -> Any:
        named: dict[str, Storage | Unread] = {}

        def persistent(description: Any) -> Any:
            match description:
                case ("module", Global() as kind, *_):  # with its source, which is not read
                    return kind
                case ("storage", Global(), str(key), _, _, view):
                    held = named.setdefault(key, storage(description[:5]))
                    return _part(held, view) if view is not None else held
            raise ValueError("an id is not that of a storage")

        _, _, _, value, keys = (interpreted(self.path, file, persistent) for _ in range(5))
        if not isinstance(keys, list) or not all(type(key) is str and key in named for key in keys):
            raise CorruptCheckpoint(f"{self.path}: its list of storages does not match those of its pickle")
        for key in keys:
            self._place(file, key, named[key])
        if file.tell() != self.file.size:
            raise FormatError(
                f"{self.path}: {self.file.size - file.tell()} bytes follow its last storage, such as another "
                f"checkpoint; a file contains one checkpoint"
            )
        return value

    def _place(self, file: IO[bytes], key: str, held: Storage | Unread) -> None:
        """Store the place of a storage's bytes, and seek to their end."""
        elements = COUNT.unpack(self._read(file, COUNT.size))[0]
        if isinstance(held, Unread) and not held.itemsize:
            raise FormatError(f"{self.path}: storage {key} {held.why}, of unknown size: where it ends is not known")
        size = elements * (held.itemsize if isinstance(held, Unread) else held.dtype.itemsize if held.dtype else 1)
        if elements < 0 or file.tell() + size > self.file.size:
            raise CorruptCheckpoint(f"{self.path}: storage {key} of {size} bytes ends after the file: it is truncated")
        self.places[key] = ByteRange(file.tell(), size)
        file.seek(size, 1)

    def _of_tar(self, file: IO[bytes]) -> Any:
        parts = self._parts(file)
        try:
            file.seek(parts["storages"])
            storages = self._tar_storages(file)
            file.seek(parts["tensors"])
            tensors = self._tar_tensors(file, storages)
        except FormatError:
            raise
        except ValueError as error:
            raise CorruptCheckpoint(f"{self.path}: {error}") from error

        def persistent(description: Any) -> Any:
            match description:
                case (Global() as kind, *_):
                    return kind
                case int() | str() if str(description) in tensors:
                    return tensors[str(description)]
                case int() | str() if str(description) in storages:
                    return storages[str(description)]
            raise ValueError("an id is not that of a tensor")

        file.seek(parts["pickle"])
        return interpreted(self.path, file, persistent)

    def _parts(self, file: IO[bytes]) -> dict[str, int]:
        """Return the offsets of the members.

        Raises:
            CorruptCheckpoint: a member is missing.
        """
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                found = {info.name.removeprefix("./"): info.offset_data for info in tar if info.isreg()}
        except (tarfile.TarError, EOFError) as error:
            raise CorruptCheckpoint(f"{self.path}: the tar file is damaged or truncated: {error}") from error
        if missing := [name for name in MEMBERS if name not in found]:
            raise CorruptCheckpoint(f"{self.path}: its tar file has no {missing[0]}")
        return found

    def _tar_storages(self, file: IO[bytes]) -> dict[str, Storage | Unread]:
        storages: dict[str, Storage | Unread] = {}
        for _ in range(self._count(file)):
            match self._pickle(file):
                case (int() | str() as key, _, Global(kind)):
                    elements = COUNT.unpack(self._read(file, COUNT.size))[0]
                    file.seek(-COUNT.size, 1)
                    storages[str(key)] = storage_of(kind, str(key), elements)
                    self._place(file, str(key), storages[str(key)])
                case _:
                    raise CorruptCheckpoint(f"{self.path}: a storage of its tar file has no key, or no class")
        views = self._pickle(file)
        for view in views if isinstance(views, list) else []:
            match view:
                case (key, root, offset, elements) if str(root) in storages:
                    storages[str(key)] = _part(storages[str(root)], (str(key), offset, elements))
        return storages

    def _tar_tensors(self, file: IO[bytes], storages: dict[str, Storage | Unread]) -> dict[str, View | Unread]:
        tensors: dict[str, View | Unread] = {}
        for _ in range(self._count(file)):
            match self._pickle(file):
                case (int() | str() as key, held, _) if str(held) in storages:
                    rank = struct.unpack("<i4x", self._read(file, 8))[0]
                    if not 0 <= rank <= RANK_LIMIT:
                        raise CorruptCheckpoint(f"{self.path}: tensor {key} has {counted(rank, 'dimension')}")
                    numbers = struct.unpack(f"<{2 * rank + 1}q", self._read(file, 8 * (2 * rank + 1)))
                    tensors[str(key)] = _tensor(storages[str(held)], numbers[:rank], numbers[rank:-1], numbers[-1])
                case _:
                    raise CorruptCheckpoint(f"{self.path}: a tensor of its tar file has no storage")
        return tensors

    def _count(self, file: IO[bytes]) -> int:
        count = self._pickle(file)
        if type(count) is not int or not 0 <= count <= COUNT_LIMIT:
            raise CorruptCheckpoint(f"{self.path}: its tar file has no valid number of storages or tensors")
        return count

    def _pickle(self, file: IO[bytes]) -> Any:
        return interpreted(self.path, file, storage)

    def _read(self, file: IO[bytes], size: int) -> bytes:
        data = file.read(size)
        if len(data) < size:
            raise CorruptCheckpoint(f"{self.path} is truncated: it ends within the header of a storage")
        return data


def _part(held: Storage | Unread, view: Any) -> Storage | Unread:
    """Return a part of a storage, which in these files has its own key, offset and number of elements.

    Raises:
        ValueError: the part is not valid.
    """
    match view:
        case (_, offset, elements) if is_size(offset) and is_size(elements):
            if isinstance(held, Unread):
                return held
            if offset + elements <= held.elements:
                return Storage(held.key, held.dtype, held.elements, held.start + offset)
    raise ValueError("a storage is a view of another that it does not fit into")


def _tensor(held: Storage | Unread, shape: tuple[int, ...], strides: tuple[int, ...], offset: int) -> View | Unread:
    return held if isinstance(held, Unread) else tensor_of(held, offset, shape, strides)
