"""The zip file that `torch.save` and `torch.jit.save` write: a pickle, and a member to each storage, as its bytes are.

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
"""Bytes of a pickle that is read: arrays of NumPy are in it as a whole."""
PROGRAM, CODE = "constants.pkl", re.compile(r"code/__torch__[/.]?(.*)[.]py")
"""What TorchScript's files have beside: constants of a program, and its code, of which only lists of names are read."""
PACKED = "code/"
"""Where members are compressed."""
DISTRIBUTED = ".distcp"
INDEX = ".metadata"
"""What such a folder has beside its files of parts, which end in this suffix."""
DATA, CONSTANTS = "data/", "constants/"
"""Folders of storages."""


class TorchArchive:
    """An open file: what its pickle holds, and where the bytes of each storage are."""

    def __init__(self, path: Path, part: Window | None = None) -> None:
        """Read the zip's directory: of a file, or of the part of one that holds a tensor of a distributed checkpoint.

        Raises:
            FormatError: it is a part of a distributed checkpoint and none is named, or has members that are not read.
            CorruptCheckpoint: it is damaged.
        """
        if part is None:
            refuse_distributed(path)
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
        """Return what the pickle holds, as records; of a program the constants too, as a dict of both.

        Raises:
            FormatError: it names what could act.
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
        """Return a small member's bytes, checked.

        Raises:
            CorruptCheckpoint: it is damaged, or too large to be what its name says.
        """
        info = self.members[name]
        if info.file_size > PICKLE_LIMIT:
            raise CorruptCheckpoint(f"{self.path}: {name} has {info.file_size} bytes, at most {PICKLE_LIMIT} are read")
        return b"".join(self.stream(name, name))

    def require(self, storage: Storage) -> None:
        """Check that the bytes of a storage are there, as many as the pickle says.

        Raises:
            CorruptCheckpoint: they are not.
        """
        info = self.members.get(_member(storage))
        if info is None:
            raise CorruptCheckpoint(f"{self.path}: its pickle refers to the storage {storage.key}, which is missing")
        if info.file_size != storage.nbytes:
            raise CorruptCheckpoint(
                f"{self.path}: storage {storage.key} has {info.file_size} bytes, but {storage.nbytes} according to "
                "its pickle"
            )

    def stream(self, member: str, name: str) -> Iterator[bytes]:
        """Yield the bytes of a member, read for what has a name; after the last the zip's checksum is compared.

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
        """Yield the bytes of a storage, read for what has a name; `stream` says what is raised."""
        yield from self.stream(_member(storage), name)

    def rest(self, held: Iterable[Storage]) -> Iterator[Checked]:
        """Check the members that hold no tensor's bytes: storages of what was left out, and what else is damaged."""
        used = set(map(_member, held))
        for member in (member for member in self.members if member not in used):
            checked = Checked.of(member, self.stream(member, member))
            if checked.problem or member.startswith((DATA, CONSTANTS)):
                yield checked

    def part(self, storage: Storage, name: str, offset: int, size: int) -> Iterator[bytes]:
        """Yield some bytes of a storage, which was checked before."""
        stored = self._stored(self.members[_member(storage)])
        yield from self.file.stream(name, ByteRange(stored.offset + offset, size))
        self.file.require_unchanged()

    def _stored(self, info: zipfile.ZipInfo) -> ByteRange:
        if info.compress_type != zipfile.ZIP_STORED:
            raise FormatError(f"{self.path}: {info.filename} is compressed, which torch.save does not do")
        return ByteRange(member_start(self.file, info), info.file_size)


def is_archive(path: Path) -> bool:
    """Return whether a file is a zip of PyTorch's."""
    if not is_zip(path):
        return False
    names = member_names(path)
    return path.suffix in (".pt", ".pth") if names is None else bool(_pickles(names))


def is_distributed(path: Path) -> bool:
    """Return whether a path is a folder of torch.distributed.checkpoint, or a part of one."""
    return path.suffix == DISTRIBUTED or (path.is_dir() and any(path.glob(f"*{DISTRIBUTED}")))


def refuse_distributed(path: Path) -> None:
    """Refuse what torch.distributed.checkpoint writes without its index: files of an archive for each part of a tensor.

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
    """Return what a pickle of a file holds, as records; `interpret` has the parameters.

    Raises:
        FormatError: it names what could act.
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
    """A file in which nothing that is read at once is longer than a pickle may be."""

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
    """Return the storage that a program's constants mean by an id."""
    held = storage(description)
    return replace(held, key=f"{CONSTANTS}{held.key}") if isinstance(held, Storage) else held


def _pickles(names: Any) -> list[str]:
    pickles = [name for name in names if PICKLE.fullmatch(name)]
    return pickles if len(pickles) == 1 else []
