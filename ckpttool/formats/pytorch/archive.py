"""The zip file that `torch.save` and `torch.jit.save` write: a pickle, and a member with the raw bytes of each storage.

The layout: torch/serialization.py, caffe2/serialize/inline_container.cc.
"""

import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from ckpttool.core.counts import counted
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.plain_files import matching
from ckpttool.formats.format import Checked
from ckpttool.formats.pytorch.makers import ForbiddenName, storage
from ckpttool.formats.pytorch.modules import Classes, Constants, classes_in
from ckpttool.formats.pytorch.pickle import interpret
from ckpttool.formats.pytorch.records import Pairs, Storage, Unread
from ckpttool.formats.reading.archive import is_zip, member_bytes, member_names, members
from ckpttool.formats.reading.data_file import ByteRange, CheckpointFile
from ckpttool.formats.reading.window import Window
from ckpttool.formats.reading.zip_layout import member_start

PICKLE = re.compile(r"[^/]+/data\.pkl")
PICKLE_LIMIT = 2 << 30
"""Maximum size of a pickle in bytes; it contains arrays of NumPy as a whole."""
PROGRAM, CODE = "constants.pkl", re.compile(r"code/__torch__[/.]?(.*)[.]py")
"""Other parts of TorchScript's files: a program's constants, and its code, of which only lists of names are read."""
PACKED = "code/"
"""The folder with compressed members."""
DISTRIBUTED = ".distcp"
INDEX = ".metadata"
"""The index in such a folder, and the suffix of its files of parts."""
DATA, CONSTANTS = "data/", "constants/"
"""Folders of storages."""


class TorchArchive:
    """An open file: the value of its pickle, and the places of its storages."""

    def __init__(self, path: Path, part: Window | None = None) -> None:
        """Read the zip's directory, of a file or of the part of one that contains a tensor of a distributed checkpoint.

        Raises:
            FormatError: it has no pickle, or unsupported members.
            CorruptCheckpoint: it is damaged.
        """
        self.file = part or CheckpointFile(path)
        self.path = path
        infos = members(path, part)
        if not (pickles := _pickles(infos)):
            raise FormatError(f"{path} is not a file of torch.save: it has no data.pkl, or more than one")
        folder = pickles[0].removesuffix("data.pkl")
        self.members = {name.removeprefix(folder): info for name, info in infos.items()}
        order = self.record("byteorder") if "byteorder" in self.members else b"little"
        if order not in (b"little", b"big"):
            raise CorruptCheckpoint(f"{path}: its byteorder is {order[:20]!r}, expected little or big")
        self.big = order == b"big"

    def value(self) -> Any:
        """Return the pickle's value as records; for a program a dict with this and the constants.

        Raises:
            FormatError: the pickle refers to a function that could act.
            CorruptCheckpoint: it is damaged.
        """
        value = interpreted(self.path, self.record("data.pkl"), storage)
        if PROGRAM not in self.members:
            return value
        constants = interpreted(self.path, self.record(PROGRAM), _constant)
        if not isinstance(constants, tuple):
            raise CorruptCheckpoint(f"{self.path}: its constants are not a tuple")
        return Pairs([("model", value), ("constants", Constants(constants))]) if constants else value

    def classes(self) -> Classes:
        """Return the parameters and buffers of a program's classes.

        Raises:
            CorruptCheckpoint: its code is damaged.
        """
        listed: dict[str, list[str]] = {}
        for member in self.members:
            if found := CODE.fullmatch(member):
                code = self.record(member).decode(errors="replace")
                listed |= classes_in(found[1].replace("/", "."), code)
        return listed

    def record(self, name: str) -> bytes:
        """Return the bytes of a small member, after checking them.

        Raises:
            CorruptCheckpoint: it is damaged, or too large for its kind.
        """
        info = self.members[name]
        if info.file_size > PICKLE_LIMIT:
            raise CorruptCheckpoint(f"{self.path}: {name} has {info.file_size} bytes, at most {PICKLE_LIMIT} are read")
        return b"".join(self.stream(name, name))

    def require(self, storage: Storage) -> None:
        """Check that a storage exists, with the number of bytes that the pickle declares.

        Raises:
            CorruptCheckpoint: it is missing, or its size differs.
        """
        info = self.members.get(_member(storage))
        storage.require(self.path, info.file_size if info else None)

    def stream(self, member: str, name: str) -> Iterator[bytes]:
        """Yield the bytes of a member, read for the tensor `name`; after the last ones the zip's checksum is verified.

        Raises:
            CorruptCheckpoint: it is damaged, or the file changed.
        """
        info, running = self.members[member], 0
        if member.startswith(PACKED) and info.compress_type != zipfile.ZIP_STORED:
            yield from member_bytes(self.path, info, name)
            return
        for piece in self.file.stream(name, self._stored(info)):
            running = zlib.crc32(piece, running)
            yield piece
        if info.CRC and running != info.CRC:  # none is kept after torch.serialization.set_crc32_options(False)
            raise CorruptCheckpoint(
                f"{self.path}: {name} is damaged: the checksum of {info.filename} is {running:08x}, expected "
                f"{info.CRC:08x}"
            )
        self.file.require_unchanged()

    def storage(self, storage: Storage, name: str) -> Iterator[bytes]:
        """Yield the bytes of a storage, read for the tensor `name`; raises as `stream` does."""
        yield from self.stream(_member(storage), name)

    def rest(self, held: Iterable[Storage]) -> Iterator[Checked]:
        """Check the members without a tensor's bytes: storages of skipped values, and all others."""
        used = set(map(_member, held))
        for member in (member for member in self.members if member not in used):
            checked = Checked.of(member, self.stream(member, member))
            if checked.problem or member.startswith((DATA, CONSTANTS)):
                yield checked

    def part(self, storage: Storage, name: str, offset: int, size: int) -> Iterator[bytes]:
        """Yield a range of bytes of a storage, which was checked before."""
        stored = self._stored(self.members[_member(storage)])
        yield from self.file.stream(name, ByteRange(stored.offset + offset, size))
        self.file.require_unchanged()

    def _stored(self, info: zipfile.ZipInfo) -> ByteRange:
        if info.compress_type != zipfile.ZIP_STORED:
            raise FormatError(f"{self.path}: {info.filename} is compressed, which torch.save does not do")
        return ByteRange(member_start(self.file, info), info.file_size)


def is_archive(path: Path) -> bool:
    """Return whether a file is a zip file of PyTorch."""
    if not is_zip(path):
        return False
    names = member_names(path)
    return path.suffix in (".pt", ".pth") if names is None else bool(_pickles(names))


def is_distributed(path: Path) -> bool:
    """Return whether a path is a folder of torch.distributed.checkpoint, or a part of one."""
    return path.suffix == DISTRIBUTED or bool(matching(path, f"*{DISTRIBUTED}"))


def refuse_distributed(path: Path) -> None:
    """Refuse a folder of torch.distributed.checkpoint without index; its files have an archive per part of a tensor.

    Raises:
        FormatError: it is such a folder, or a part of one.
    """
    if not is_distributed(path):
        return
    raise FormatError(
        f"{path} is {'a' if path.is_dir() else 'a part of a'} folder of torch.distributed.checkpoint, whose index "
        f"{INDEX} of its tensors is missing: copy the whole folder"
    )


def interpreted(path: Path, data: bytes | IO[bytes], persistent: Callable[[Any], Any]) -> Any:
    """Return the value of a file's pickle as records; the parameters are those of `interpret`.

    Raises:
        FormatError: the pickle refers to a function that could act.
        CorruptCheckpoint: it is damaged.
    """
    try:
        return interpret(data if isinstance(data, bytes) else _Bounded(data), persistent)
    except ForbiddenName as error:
        raise FormatError(
            f"{path}: its pickle refers to {error}, which is never imported or run here, but could run code where "
            f"PyTorch loads this file: weights do not need it, so the file is not read"
        ) from error
    except ValueError as error:
        raise CorruptCheckpoint(f"{path}: its pickle is damaged: {error}") from error


class _Bounded:
    """A file that refuses single reads of more bytes than a pickle may have."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.tell = file.tell

    def read(self, size: int) -> bytes:
        if size > PICKLE_LIMIT:
            raise ValueError(f"it contains a text of {counted(size, 'byte')}, at most {PICKLE_LIMIT} are read")
        return self._file.read(size)

    def readline(self) -> bytes:
        return self._file.readline(PICKLE_LIMIT)


def _member(storage: Storage) -> str:
    return storage.key if storage.key.startswith(CONSTANTS) else f"{DATA}{storage.key}"


def _constant(description: Any) -> Storage | Unread:
    """Return the storage for a persistent id in a program's constants."""
    held = storage(description)
    return replace(held, key=f"{CONSTANTS}{held.key}") if isinstance(held, Storage) else held


def _pickles(names: Any) -> list[str]:
    pickles = [name for name in names if PICKLE.fullmatch(name)]
    return pickles if len(pickles) == 1 else []
