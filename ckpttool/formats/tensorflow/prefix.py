"""Resolve a path to a checkpoint: prefixes and their files, folders, and the state file named `checkpoint`.

A prefix is not a file, and it may end in a slash (TensorFlow's tensor_bundle/naming.cc). In the file named `checkpoint`
TensorFlow records the latest checkpoint of a folder (checkpoint_state.proto).
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile
from ckpttool.core.plain_files import is_file, names_in, resolved, stays_in
from ckpttool.formats.wire import text_messages
from ckpttool.formats.wire.protos.bundle_pb2 import CheckpointState
from ckpttool.formats.writing.files import replacing
from ckpttool.remote import sparse_files

_SHARD = re.compile(r"\.data-(\d{5,})-of-(\d{5,})")
V1_SHARD = re.compile(r"-(\d{5}|\?{5})-of-(\d{5})\Z")
"""The suffix of the files of a sharded version 1 checkpoint; TensorFlow writes `?????` for all of them."""
PART = re.compile(rf"(\.index|\.meta|\.data-\d{{5,}}-of-\d{{5,}}|{V1_SHARD.pattern})\Z")
"""The suffixes of a checkpoint's files."""
STATE_FILE = "checkpoint"
_STATE_READ, _LONGEST_REASON = 64 << 10, 300
"""The number of bytes that are read of a state file, and the maximum length of a parser's message in an error."""
SAVED_MODEL_GRAPHS = ("saved_model.pb", "saved_model.pbtxt")
"""The names of a SavedModel's graph file."""
OTHERS = (
    *("*.safetensors*", "*.bin.index.json", "*model.bin", "*.distcp", "**/*.npy", "model.json"),
    *("*_optim_states.pt", "*/*_optim_states.pt", ".zgroup", ".zarray", "zarr.json"),
    *("manifest.ocdbt", "_METADATA", "_CHECKPOINT_METADATA", "*/_CHECKPOINT_METADATA"),
    "Data/com.apple.CoreML",
)
"""Files that identify a folder as a checkpoint in another format, or as a model that is recognised but not read."""
_ELSEWHERE = re.compile(r"[A-Za-z][\w+.-]*://|[A-Za-z]:[\\/]|\\\\|/")
"""The start of an absolute path: in a bucket, on Windows, or on POSIX."""


@dataclass(frozen=True)
class BundleFiles:
    """The names of a bundle's files.

    >>> BundleFiles("my_model.ckpt").shard(0, 1).name
    'my_model.ckpt.data-00000-of-00001'
    """

    prefix: str

    @classmethod
    def of(cls, prefix: Path) -> "BundleFiles":
        """Return the names for a prefix; a folder with a file named `.index` is a prefix that ends in a slash."""
        whole = cls(str(prefix))
        inside = cls(f"{prefix}/")
        return inside if not is_file(whole.index) and is_file(inside.index) else whole

    @property
    def index(self) -> Path:
        """The index file, which lists the tensors; a checkpoint exists if this file does."""
        return Path(self.prefix + ".index")

    def shard(self, number: int, count: int) -> Path:
        """Return the path of the data file of a shard."""
        return Path(f"{self.prefix}.data-{number:05d}-of-{count:05d}")

    def shards(self) -> Iterator[tuple[Path, int, int]]:
        """Yield each existing data file with its number and the number of shards in its name."""
        start = Path(self.prefix + ".index").name.removesuffix(".index")
        folder = self.index.parent
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            match = _SHARD.fullmatch(path.name.removeprefix(start)) if path.name.startswith(start) else None
            if match:
                yield path, int(match[1]), int(match[2])


def prefix_of(path: Path | str) -> Path:
    """Return the prefix that a path refers to; other paths are returned unchanged.

    `x.index`, `x.meta`, `x.data-00000-of-00001` and `x-00000-of-00001` refer to `x`; a folder with a `checkpoint` file
    to the latest checkpoint in it; a SavedModel's folder to its `variables/variables`, or without variables to its
    graph, whose constants may be weights. A folder with files named `.index` and `.data-...` is itself a prefix, which
    ends in a slash. A folder with a checkpoint in another format is returned unchanged.

    >>> str(prefix_of("models/my_model.ckpt.data-00000-of-00001"))
    'models/my_model.ckpt'

    Raises:
        MissingFile: it is a folder without a checkpoint.
        FormatError: the folder's `checkpoint` file names a path outside of it.
    """
    path = Path(path)
    if is_file(f"{path}.index"):
        return path
    if path.is_dir():
        return _in_folder(path)
    return _without_part(path)


def _without_part(path: Path) -> Path:
    part = PART.search(path.name)
    if not part:
        return path
    return path.with_name(path.name[: part.start()]) if part.start() else path.parent


def _in_folder(folder: Path) -> Path:
    if is_file(folder / ".index"):
        return folder
    if is_file(folder / STATE_FILE):
        return _without_part(recorded_checkpoint(folder))
    variables = folder / "variables" / "variables"
    if is_file(f"{variables}.index"):
        return variables
    for graph in (folder / name for name in SAVED_MODEL_GRAPHS):
        if is_file(graph):
            return graph
    prefixes = [name.removesuffix(".index") for name in names_in(folder) if name.endswith(".index")]
    if len(prefixes) == 1:
        return folder / prefixes[0]
    if prefixes:
        raise MissingFile(f"{folder} contains several checkpoints, specify one: {', '.join(prefixes[:5])}")
    if any(any(folder.glob(pattern)) for pattern in OTHERS):
        return folder
    raise MissingFile(f"{folder} is a folder without a checkpoint: no file named checkpoint, no .index, no variables")


def recorded_checkpoint(directory: Path) -> Path:
    """Return the prefix of a folder's latest checkpoint.

    The path in the file must be inside the folder. Of an absolute path, which names the place where the folder was
    created (in a bucket, on Windows), only the last component is used, so that folders can be moved.

    Raises:
        MissingFile: the folder has no such file, or the checkpoint that it names does not exist.
        CorruptCheckpoint: it is not a text-format CheckpointState, or names no checkpoint.
        FormatError: it names a path outside of the folder.
    """
    path = directory / STATE_FILE
    try:
        state = text_messages.parsed(_first_lines(path), CheckpointState(), allow_unknown=True)
    except FileNotFoundError as error:
        raise MissingFile(f"{path} is missing") from error
    except (DecodeError, UnicodeDecodeError, RecursionError) as error:
        why = " ".join(str(error)[:_LONGEST_REASON].split())
        raise CorruptCheckpoint(f"{path} is not a checkpoint state file: {why}") from error
    stored = state.model_checkpoint_path
    if not stored:
        raise CorruptCheckpoint(f"{path} refers to no checkpoint")
    try:
        inside = _confined(directory, stored)
    except (ValueError, OSError) as error:
        raise FormatError(f"{path} refers to the checkpoint {stored!r}, which {error}") from error
    if inside is None:
        raise MissingFile(f"{path} refers to {stored}, but {directory} has no {_last_part(stored)}")
    return inside


def _first_lines(path: Path) -> bytes:
    """Return the first lines of a state file; the very first names the latest checkpoint, the others all of them."""
    with sparse_files.opened(path) as file:
        text: bytes = file.read(_STATE_READ)
    return text if len(text) < _STATE_READ else text[: text.rfind(b"\n") + 1]


def record_checkpoint(directory: Path, prefix: Path) -> None:
    """Record a checkpoint as the latest and only one of a folder, for TensorFlow's `latest_checkpoint`."""
    from google.protobuf import text_format

    relative = os.path.relpath(prefix, directory)
    state = CheckpointState(model_checkpoint_path=relative, all_model_checkpoint_paths=[relative])
    with replacing(directory / STATE_FILE) as file:
        file.write(text_format.MessageToString(state).encode())


def _confined(directory: Path, stored: str) -> Path | None:
    """Return a stored path inside the folder, or None if it is absolute and the folder has nothing of that name.

    Raises:
        ValueError: it is outside of the folder.
    """
    inside, moved = directory / stored, directory / _last_part(stored)
    if inside.is_absolute() and not directory.is_absolute():
        inside = directory / os.path.relpath(inside, resolved(directory))
    elsewhere = _ELSEWHERE.match(stored) is not None
    within = stays_in(directory, inside.parent) and inside.name not in ("", "..")
    if within and (not elsewhere or is_there(inside)):
        return inside if is_there(inside) or not is_there(moved) else moved
    if elsewhere:
        return moved if is_there(moved) else None
    raise ValueError("is outside of its folder")


def _last_part(stored: str) -> str:
    return re.split(r"[/\\]", stored)[-1]


def is_there(prefix: Path) -> bool:
    """Return whether a prefix has a checkpoint: a bundle's index, or the (first) file of version 1."""
    if prefix.name in ("", ".."):
        return False
    shards = V1_SHARD.search(prefix.name)
    first = prefix.with_name(f"{prefix.name[: shards.start()]}-00000-of-{shards[2]}") if shards else prefix
    return is_file(first) or is_file(BundleFiles.of(prefix).index)


def is_saved_model(path: Path) -> bool:
    """Return whether a path is a folder with a SavedModel's graph."""
    return any(is_file(path / name) for name in SAVED_MODEL_GRAPHS)
