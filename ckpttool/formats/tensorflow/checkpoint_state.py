"""The file named `checkpoint`, in which TensorFlow notes the latest checkpoint of a folder (checkpoint_state.proto)."""

import os
from pathlib import Path

from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile
from ckpttool.formats.tensorflow.bundle_files import BundleFiles
from ckpttool.formats.wire.protos.bundle_pb2 import CheckpointState
from ckpttool.formats.writing.files import replacing
from ckpttool.remote import sparse_files

NAME = "checkpoint"


def latest(directory: Path) -> Path:
    """Return the prefix of a folder's latest checkpoint.

    The path in the file counts only inside the folder. An absolute one, from where the folder was made, is looked for
    by its last part, so that a folder can be moved.

    Raises:
        MissingFile: the folder has no such file.
        CorruptCheckpoint: it is not a text-format CheckpointState, or names no checkpoint.
        FormatError: it leads out of the folder.
    """
    path = directory / NAME
    stored = _read(path).model_checkpoint_path
    if not stored:
        raise CorruptCheckpoint(f"{path} names no checkpoint")
    try:
        return _confined(directory, stored)
    except (ValueError, OSError) as error:
        raise FormatError(f"{path} names the checkpoint {stored!r}, which {error}") from error


def write(directory: Path, prefix: Path) -> None:
    """Note a checkpoint in a folder as its latest and only one; TensorFlow's `latest_checkpoint` will return it."""
    from google.protobuf import text_format

    relative = os.path.relpath(prefix, directory)
    state = CheckpointState(model_checkpoint_path=relative, all_model_checkpoint_paths=[relative])
    with replacing(directory / NAME) as file:
        file.write(text_format.MessageToString(state).encode())


def _read(path: Path) -> CheckpointState:
    from google.protobuf import text_format

    try:
        return text_format.Parse(sparse_files.read_bytes(path), CheckpointState(), allow_unknown_field=True)
    except FileNotFoundError as error:
        raise MissingFile(f"{path} is missing") from error
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise CorruptCheckpoint(f"{path} is not a checkpoint state file: {error}") from error


def _confined(directory: Path, stored: str) -> Path:
    """Return a stored path inside the folder.

    Raises:
        ValueError: it leads out of it.
    """
    inside = directory / stored
    if inside.parent.resolve().is_relative_to(directory.resolve()) and inside.name not in ("", ".."):
        return inside
    moved = directory / Path(stored).name
    if Path(stored).is_absolute() and (moved.is_file() or BundleFiles.of(moved).index.is_file()):
        return moved
    raise ValueError("is outside of its folder")
