"""The index of a safetensors checkpoint of several files, which maps tensors to files in the index's folder.

Transformers and huggingface_hub write it: `model.safetensors.index.json` with a `weight_map`.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.plain_files import is_file, lies_beside, matching
from ckpttool.formats.wire import strict_json
from ckpttool.remote import sparse_files

SUFFIX, INDEX_SUFFIX = ".safetensors", ".safetensors.index.json"
INDEX_LIMIT = 100_000_000
SHARD = re.compile(r"-(\d{5,})-of-(\d{5,})\.safetensors")


class ShardIndex(NamedTuple):
    """The files by name, each with its tensors according to the index, and the metadata's texts."""

    files: dict[str, set[str]]
    metadata: dict[str, str]


@dataclass(frozen=True)
class Names:
    """The names of the files of a checkpoint.

    >>> Names.of(Path("model.safetensors.index.json")).shard(0, 3).name
    'model-00001-of-00003.safetensors'
    """

    single: Path
    index: Path

    @classmethod
    def of(cls, path: Path) -> "Names":
        """Return the names for a path: of the one file, or of the index of several."""
        base = path.name.removesuffix(INDEX_SUFFIX).removesuffix(SUFFIX)
        single = path if not path.name.endswith(INDEX_SUFFIX) else path.with_name(base + SUFFIX)
        return cls(single, path.with_name(base + INDEX_SUFFIX))

    def shard(self, number: int, count: int) -> Path:
        """Return the name of one of several files; they are counted from 1."""
        base = self.index.name.removesuffix(INDEX_SUFFIX)
        return self.index.with_name(f"{base}-{number + 1:05d}-of-{count:05d}{SUFFIX}")

    def shards(self) -> Iterable[tuple[Path, int]]:
        """Yield each existing file of several, with the count in its name."""
        base, folder = self.index.name.removesuffix(INDEX_SUFFIX), self.index.parent
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            match = SHARD.fullmatch(path.name.removeprefix(base)) if path.name.startswith(base) else None
            if match:
                yield path, int(match[2])


def locate(path: Path) -> Path | None:
    """Return the file or the index that a path refers to: itself, an index beside it, or the one in a folder.

    Raises:
        FormatError: the folder contains several.
    """
    if path.is_dir():
        return single_in(path, (f"*{INDEX_SUFFIX}", f"*{SUFFIX}"), "safetensors checkpoints")
    return file_or_index(path, Names.of(path).index, SUFFIX)


def single_in(folder: Path, patterns: Sequence[str], kind: str) -> Path | None:
    """Return the only file of a folder that matches the first pattern that any file matches; None if none does.

    Raises:
        FormatError: several files match; the message names them, and their kind.
    """
    found = next((found for pattern in patterns if (found := matching(folder, pattern))), [])
    if len(found) > 1:
        names = ", ".join(file.name for file in found[:5])
        raise FormatError(f"{folder} contains several {kind}, specify one: {names}")
    return found[0] if found else None


def file_or_index(path: Path, index: Path, suffix: str) -> Path | None:
    """Return the file at a path, else its index if the path has the suffix of a checkpoint; None if neither exists."""
    if is_file(path):
        return path
    return index if path.name.endswith(suffix) and is_file(index) else None


def read_index(path: Path, suffix: str = SUFFIX) -> ShardIndex:
    """Read and check an index of files with a suffix; the files themselves may be missing.

    Raises:
        CorruptCheckpoint: it is damaged.
        FormatError: it refers to a file that is not beside it, or one of another format.
    """
    if sparse_files.size_of(path) > INDEX_LIMIT:
        raise CorruptCheckpoint(f"{path} has more than {INDEX_LIMIT} bytes, the limit for an index")
    try:
        document = strict_json.parse(sparse_files.read_bytes(path))
    except ValueError as error:
        raise CorruptCheckpoint(f"{path} is not valid JSON in UTF-8: {error}") from error
    weights = document.get("weight_map") if isinstance(document, dict) else None
    if not isinstance(weights, dict):
        raise CorruptCheckpoint(f"{path} has no weight_map of tensors to files")
    files: dict[str, set[str]] = {}
    for name, file in weights.items():
        files.setdefault(_beside(path, name, file, suffix), set()).add(name)
    metadata = document.get("metadata")
    texts = metadata.items() if isinstance(metadata, dict) else ()
    return ShardIndex(files, {key: text for key, text in texts if isinstance(text, str)})


def encode_index(files: Mapping[str, Iterable[str]], nbytes: int) -> bytes:
    """Return the bytes of an index: the names of the tensors in each file, and their total size in bytes.

    Raises:
        FormatError: the name of a file is not text, which JSON cannot contain.
    """
    weights = {name: file for file, names in files.items() for name in names}
    document = {"metadata": {"total_size": nbytes}, "weight_map": weights}
    try:
        return (json.dumps(document, ensure_ascii=False, indent=2, sort_keys=True) + "\n").encode()
    except UnicodeEncodeError as error:
        raise FormatError(
            f"an index lists its files in JSON, and the name {next(iter(files))} is not text in UTF-8"
        ) from error


def _beside(index: Path, name: str, file: object, suffix: str) -> str:
    """Return the name of a file in the index's folder, which an index cannot leave."""
    if not isinstance(file, str):
        raise CorruptCheckpoint(f"{index}: {name} has the file {str(file)[:80]}, expected a file name")
    if not lies_beside(file):
        raise FormatError(f"{index}: {name} has the file {file[:80]!r}, which is outside of its folder")
    if not file.endswith(suffix):
        kind = suffix.removeprefix(".")
        raise FormatError(f"{index}: {name} has the file {file[:80]!r}, which is not a {kind} file")
    return file
