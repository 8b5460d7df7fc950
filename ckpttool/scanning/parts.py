"""Checkpoints of several files: shards listed in an index, and parts stored one after the other in a file."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from ckpttool.core.counts import counted
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.plain_files import is_file, lies_beside, opened
from ckpttool.formats.pytorch.archive import DISTRIBUTED, INDEX
from ckpttool.formats.pytorch.distributed_index import read_places
from ckpttool.formats.tensorflow.prefix import PART
from ckpttool.formats.wire import strict_json
from ckpttool.scanning.finding import Unread

INDEXES = (".safetensors.index.json", ".bin.index.json", ".weights.json")
"""Suffixes of index files, which list the shards that contain the tensors."""
LARGEST_INDEX = 100_000_000


class Named(NamedTuple):
    """The existing files that one stands for, and an entry for shards that are missing or outside of its folder."""

    files: tuple[Path, ...] = ()
    unread: tuple[Unread, ...] = ()


def named_in(path: Path) -> Named:
    """Return the shards that an index file lists, or the other files of a checkpoint's prefix; else nothing."""
    if part := PART.search(path.name):
        return Named(tuple(_of_prefix(path, path.name[: part.start()])))
    if not path.name.endswith(INDEXES):
        return Named()
    with opened(path) as file:
        raw = file.read(LARGEST_INDEX + 1)
    try:
        if len(raw) > LARGEST_INDEX:
            raise ValueError(f"it has more than {LARGEST_INDEX} bytes")
        names = sorted(set(_names(strict_json.loads(raw)["weight_map"])))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return Named(unread=(Unread(path, f"it is not an index of files: {error}"),))
    there = {name: path.with_name(name) for name in names if lies_beside(name) and is_file(path.with_name(name))}
    missing = [name for name in names if name not in there]
    if not missing:
        return Named(tuple(there.values()))
    count = f"{counted(len(missing), 'file')} that {'is' if len(missing) == 1 else 'are'} not beside it"
    return Named(tuple(there.values()), (Unread(path, f"it leads to {count}, such as {missing[0][:80]!r}"),))


def _of_prefix(path: Path, prefix: str) -> Iterator[Path]:
    """Yield the other files of the prefix that a file is a part of."""
    for each in sorted(path.parent.iterdir()):
        part = PART.search(each.name)
        if part and each.name[: part.start()] == prefix and each != path:
            yield each


def read_with(path: Path) -> tuple[Path, ...]:
    """Return the files needed to read a path: the shards listed in an index, or the index of a `.distcp` file."""
    index = path.with_name(INDEX)
    return (index,) if path.suffix == DISTRIBUTED and is_file(index) else named_in(path).files


def _names(weight_map: dict[str, object]) -> Iterator[str]:
    for value in weight_map.values():
        for name in value if isinstance(value, list) else [value]:
            if not isinstance(name, str):
                raise ValueError(f"it names {str(name)[:80]}, which is not a file")
            yield name


def parts_in(path: Path) -> Iterator[tuple[int, int] | Unread]:
    """Yield the start and length in bytes of each part of a `.distcp` file, and an `Unread` for bytes of no part.

    Raises:
        FormatError: the index is missing, or its pickle names a function that could act.
        CorruptCheckpoint: the index is damaged, or a part extends beyond the file.
    """
    index = path.with_name(INDEX)
    if not is_file(index):
        raise FormatError(f"{path}: {INDEX}, which says what is where in it, is not beside it")
    at, size = 0, path.stat().st_size
    for start, length in sorted(read_places(index).get(path.name, ())):
        if start + length > size:
            raise CorruptCheckpoint(f"{path}: a part is said to end at byte {start + length}, it has {size}")
        if start > at:
            yield _nobody(path, start - at, at)
        yield start, length
        at = max(at, start + length)
    if at < size:
        yield _nobody(path, size - at, at)


def _nobody(path: Path, count: int, at: int) -> Unread:
    return Unread(path, f"{counted(count, 'byte')} from {at} on {'is' if count == 1 else 'are'} in no part of it")
