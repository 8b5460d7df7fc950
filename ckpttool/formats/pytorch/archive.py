"""The zip file that `torch.save` writes: a pickle, and a member to each storage, as its bytes are.

The layout: torch/serialization.py, caffe2/serialize/inline_container.cc.
"""

import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.formats.pytorch.pickle import ForbiddenName, interpret
from ckpttool.formats.pytorch.records import Storage
from ckpttool.formats.reading.archive import is_zip, member_names, member_start, members
from ckpttool.formats.reading.data_file import ByteRange, CheckpointFile
from ckpttool.remote import sparse_files

PICKLE = re.compile(r"[^/]+/data\.pkl")
PICKLE_LIMIT = 64 << 20
PLAIN_NAME = re.compile(r"[\w./ -]+")
NAMES = ("OLD", "NEW")
PROGRAM = "constants.pkl"
"""What TorchScript's files have beside: they are programs."""
LEGACY = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""How the files of PyTorch 0.2 to 1.5 begin: a pickle of a magic number."""
TAR = re.compile(rb"(sys_info|pickle|storages|tensors)\0.{248,251}ustar", re.DOTALL)
"""How those of 0.1 begin."""


LOAD = "torch.load('{}', map_location='cpu', weights_only=False)"
WEIGHTS = f"{LOAD}; x = x.state_dict() if hasattr(x, 'state_dict') else x['state_dict']"
SCRIPT = "torch.jit.load('{}', map_location='cpu').state_dict()"
"""How PyTorch loads an old file, the weights in a file of other objects, and those of a program."""


class TorchArchive:
    """An open file: what its pickle holds, and where the bytes of each storage are."""

    def __init__(self, path: Path) -> None:
        """Read the zip's directory.

        Raises:
            FormatError: it is older than the zip format, a program, a part of a distributed checkpoint, or has members
                that are not read.
            CorruptCheckpoint: it is damaged.
        """
        if is_old(path):
            raise FormatError(
                f"{path} is in the format of PyTorch before 1.6, which is not read; where you trust it, this converts "
                f"it: {_command(path, LOAD)}"
            )
        if path.suffix == ".distcp":
            raise FormatError(
                f"{path} is a part of a folder of torch.distributed.checkpoint, which is not read; this makes one file "
                f"of the folder: python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER NEW.pt"
            )
        self.file = CheckpointFile(path)
        self.path = path
        infos = members(path)
        if not (pickles := _pickles(infos)):
            raise FormatError(f"{path} is not a file of torch.save: it has no data.pkl, or several")
        folder = pickles[0].removesuffix("data.pkl")
        self.members = {name.removeprefix(folder): info for name, info in infos.items()}
        if PROGRAM in self.members:
            raise FormatError(
                f"{path} is a program of TorchScript, which is not read; where you trust it, this takes its weights: "
                f"{_command(path, SCRIPT)}"
            )
        order = self.record("byteorder") if "byteorder" in self.members else b"little"
        if order not in (b"little", b"big"):
            raise CorruptCheckpoint(f"{path}: its byteorder is {order[:20]!r}, expected little or big")
        self.big = order == b"big"

    def value(self) -> Any:
        """Return what the pickle holds, as records.

        Raises:
            FormatError: it names what no checkpoint needs.
            CorruptCheckpoint: it is damaged.
        """
        data = self.record("data.pkl")
        try:
            return interpret(data)
        except ForbiddenName as error:
            raise FormatError(
                f"{self.path}: its pickle names {error}, which is never imported or run here; save the weights alone "
                f"where you trust it and have that class: {_command(self.path, WEIGHTS)}"
            ) from error
        except ValueError as error:
            raise CorruptCheckpoint(f"{self.path}: its pickle is damaged: {error}") from error

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
        info = self.members.get(f"data/{storage.key}")
        if info is None:
            raise CorruptCheckpoint(f"{self.path}: its pickle names the storage {storage.key}, which is not there")
        if info.file_size != storage.nbytes:
            raise CorruptCheckpoint(
                f"{self.path}: storage {storage.key} has {info.file_size} bytes, its pickle says {storage.nbytes}"
            )

    def stream(self, member: str, name: str) -> Iterator[bytes]:
        """Yield the bytes of a member, read for what has a name; after the last the zip's checksum is compared.

        Raises:
            CorruptCheckpoint: it is damaged, or the file changed.
        """
        info, running = self.members[member], 0
        for piece in self.file.stream(name, self._stored(info)):
            running = zlib.crc32(piece, running)
            yield piece
        if info.CRC and running != info.CRC:  # none is kept after torch.serialization.set_crc32_options(False)
            raise CorruptCheckpoint(
                f"{self.path}: {name} is damaged: the checksum of {info.filename} is {running:08x}, expected "
                f"{info.CRC:08x}"
            )
        self.file.require_unchanged()

    def part(self, storage: Storage, name: str, offset: int, size: int) -> Iterator[bytes]:
        """Yield some bytes of a storage, which was checked before."""
        stored = self._stored(self.members[f"data/{storage.key}"])
        yield from self.file.stream(name, ByteRange(stored.offset + offset, size))
        self.file.require_unchanged()

    def _stored(self, info: zipfile.ZipInfo) -> ByteRange:
        if info.compress_type != zipfile.ZIP_STORED:
            raise FormatError(f"{self.path}: {info.filename} is compressed, which torch.save does not do")
        return ByteRange(member_start(self.file, info), info.file_size)


def is_torch(path: Path) -> bool:
    """Return whether a file is one of PyTorch's, new or old."""
    if not is_zip(path):
        return is_old(path)
    names = member_names(path)
    return path.suffix in (".pt", ".pth") if names is None else bool(_pickles(names))


def is_old(path: Path) -> bool:
    """Return whether a file is older than PyTorch's zip files."""
    if not path.is_file():
        return False
    with sparse_files.opened(path) as file:
        start = file.read(512)
    return start.startswith(LEGACY) or TAR.match(start) is not None


def _pickles(names: Any) -> list[str]:
    pickles = [name for name in names if PICKLE.fullmatch(name)]
    return pickles if len(pickles) == 1 else []


def _command(path: Path, load: str) -> str:
    """Return the line that converts a file with PyTorch; a name that a shell might take for more is not in it."""
    old, new = (str(path), str(path.with_name(f"{path.stem}.new.pt"))) if PLAIN_NAME.fullmatch(str(path)) else NAMES
    return f"""python -c "import torch; x = {load.format(old)}; torch.save(x, '{new}')\""""
