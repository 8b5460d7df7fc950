"""Writing safetensors: one file, or several with an index, which is written last and makes them a checkpoint.

An existing checkpoint of several files is replaced by one rename of its index. Its files keep their names until then,
so the new ones must have others: their count, a part of every name, is one that is not in use. Files beyond those that
are needed hold nothing.
"""

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.tensors import Tensor
from ckpttool.formats.format import Writing
from ckpttool.formats.reading.data_file import DataFile
from ckpttool.formats.safetensors.header import TEXTS, Header, encode, read_header, require_writable
from ckpttool.formats.safetensors.index import INDEX_SUFFIX, Names, encode_index, read_index
from ckpttool.formats.safetensors.ties import untied
from ckpttool.formats.writing.copying import Copier, split_by_size
from ckpttool.formats.writing.files import finish, refuse_existing, replacing, sync_folder, writing

ALIGNMENT = {dtype: place for place, dtype in enumerate(TEXTS)}


def write_safetensors(tensors: Mapping[str, Tensor], path: Path, overwrite: bool, how: Writing) -> None:
    """Write tensors into one file, or into several where `how` has a limit that they exceed or the path is an index's.

    Raises:
        ExistingOutput: there is one already, or a file of one, and `overwrite` was not given.
        FormatError: a tensor is one that the format cannot hold.
        CorruptCheckpoint: what was written does not read back. An old one is as it was, whatever is raised.
    """
    named = {name: tensor.renamed(name) for name, tensor in tensors.items()}
    for tensor in named.values():
        require_writable(tensor.spec)
    named, metadata = untied(named, how.metadata)
    names, shards = Names.of(path), split_by_size(named, how.shard_bytes)
    several = len(shards) > 1 or path.name.endswith(INDEX_SUFFIX)
    old = [shard for shard, _ in names.shards()]
    refuse_existing([names.index, names.single, *(old if several else ())], overwrite)
    if several:
        _write_several(shards, names, metadata)
        _remove([names.single, *old])
    else:
        _write_file(named, names.single, metadata)
        _remove([names.index, *old] if names.index.exists() else [])


def _write_several(shards: list[dict[str, Tensor]], names: Names, metadata: Mapping[str, str]) -> None:
    count = _unused_count(names, len(shards))
    files = {names.shard(number, count): shards[number] if number < len(shards) else {} for number in range(count)}
    try:
        for path, tensors in files.items():
            _write_file(tensors, path, metadata)
        with replacing(names.index) as file:
            file.write(encode_index({path.name: list(tensors) for path, tensors in files.items()}, _nbytes(shards)))
    except BaseException:
        if not _named_by(names.index) & {path.name for path in files}:  # else the index has its name: all is there
            _remove(files)
        raise


def _write_file(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str]) -> None:
    """Write one file in the order of the safetensors package, read it back, and give it its name."""
    ordered = sorted(tensors.values(), key=lambda tensor: (-ALIGNMENT[tensor.dtype], tensor.name))
    with writing(path) as (temporary, file):
        file.write(encode([tensor.spec for tensor in ordered], metadata))
        with Copier(file, temporary) as copier:
            for tensor in ordered:
                copier.add(tensor)
            placed = copier.finish()
        finish(file)
        wanted = Header({item.spec.name: (item.spec, item.offset) for item in placed}, dict(metadata))
        if read_header(DataFile(temporary)) != wanted:
            raise CorruptCheckpoint(f"{path}: the header that was written does not read back as it should")
        temporary.replace(path)
        sync_folder(path.parent)


def _nbytes(shards: list[dict[str, Tensor]]) -> int:
    return sum(tensor.nbytes for tensors in shards for tensor in tensors.values())


def _unused_count(names: Names, least: int) -> int:
    """Return a count of files, not below the least, that is in no name of one that is there, or should be."""
    taken = {count for _, count in names.shards()}
    present = _named_by(names.index)
    free = (count for count in itertools.count(least) if count not in taken)
    return next(count for count in free if names.shard(0, count).name not in present)


def _named_by(index: Path) -> set[str]:
    """Return the files that an index names; one that is damaged, or not there, names none."""
    try:
        return set(read_index(index).files)
    except (FormatError, FileNotFoundError):
        return set()


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
