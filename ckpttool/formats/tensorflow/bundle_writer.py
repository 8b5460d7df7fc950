"""Write a bundle: tensors are streamed one at a time; the index is written last, which makes the bundle visible.

A bundle that replaces another gets new names for its data files, because the old one may still be read: the number of
shards, which is part of every name, is one that is not in use. Shards beyond those needed are empty.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ckpttool.core.counts import counted
from ckpttool.core.dtypes import RESOURCE, STRING
from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError
from ckpttool.core.tensors import Tensor, TensorSpec
from ckpttool.formats.reading.data_file import ByteRange
from ckpttool.formats.tensorflow.bundle_data import BundleData, StoredVariant
from ckpttool.formats.tensorflow.bundle_index import (
    HEADER_KEY,
    RANK_LIMIT,
    VERSION,
    BundleEntry,
    is_slice_key,
    key_of,
    read_index,
)
from ckpttool.formats.tensorflow.prefix import BundleFiles
from ckpttool.formats.tensorflow.tied_graph import hash_of
from ckpttool.formats.wire import crc
from ckpttool.formats.wire.elements import as_bytes, encode_string_lengths, variant_checksum
from ckpttool.formats.wire.protos.bundle_pb2 import BundleEntryProto, BundleHeaderProto
from ckpttool.formats.wire.protos.graph_pb2 import VersionDef
from ckpttool.formats.wire.table_writer import TableWriter
from ckpttool.formats.writing.copying import Copier, split_by_size
from ckpttool.formats.writing.files import finish, sync_names, writing
from ckpttool.formats.writing.read_back import require_same_tensors
from ckpttool.formats.writing.staging import reserved


class WrittenTensor(NamedTuple):
    """A tensor that was written to a data file, with its byte range."""

    spec: TensorSpec
    stored: ByteRange


def write_bundle(
    tensors: Mapping[str, Tensor],
    files: BundleFiles,
    shard_bytes: int | None = None,
    graph: Path | None = None,
) -> None:
    """Write tensors as a bundle, verify it by reading it back, and then make it visible.

    `shard_bytes` is the maximum size of a data file, except if a single tensor is larger. Data is in the order of the
    mapping, the index in the order of keys; it records the hash of `graph`.

    Raises:
        FormatError: a bundle cannot store a tensor.
        CorruptCheckpoint: the bundle reads back differently.
    """
    parts = split_by_size(tensors, shard_bytes)
    count = reserved(Path(files.prefix), _counts, len(parts), lambda count: files.shard(0, count))
    new = [files.shard(number, count) for number in range(count)]
    written = _write_data(parts, new)
    _write_index(files, written, count, tensors, hash_of(graph) if graph else b"")


def _counts(prefix: Path) -> set[int]:
    """Return the numbers of shards in use: in the names of existing data files, and in the index."""
    files = BundleFiles(str(prefix))
    return {_shards_named_by(files.index) or 0, *(count for _, _, count in files.shards())}


def _shards_named_by(index: Path) -> int | None:
    """Return the number of shards in an index, or None if it is missing or damaged."""
    try:
        return read_index(index).shards
    except (FormatError, FileNotFoundError):
        return None


def _write_data(parts: list[dict[str, Tensor]], shards: list[Path]) -> list[WrittenTensor]:
    """Write shards, empty ones if there are fewer parts; their names appear when they are on the disk."""
    written: list[WrittenTensor] = []
    for number, shard in enumerate(shards):
        with writing(shard) as (temporary, file):
            written += _write_tensors(file, temporary, parts[number] if number < len(parts) else {}, number)
            finish(file)
            temporary.rename(shard)
    sync_names(shards[0])
    return written


def _write_index(
    files: BundleFiles, written: list[WrittenTensor], count: int, tensors: Mapping[str, Tensor], graph: bytes
) -> None:
    """Write the index under a temporary name, verify it, and rename it, which makes the bundle visible."""
    with writing(files.index) as (temporary, file):
        table = TableWriter(file)
        header = BundleHeaderProto(num_shards=count, version=VersionDef(producer=VERSION), graph_sha256=graph)
        table.add(HEADER_KEY, header.SerializeToString())
        for spec, stored in sorted(written, key=lambda item: key_of(item.spec.name)):
            proto = BundleEntryProto(dtype=spec.dtype.number)  # type: ignore[arg-type]
            proto.shape.SetInParent()
            for size in spec.shape:
                proto.shape.dim.add(size=size)
            proto.shard_id = stored.shard
            proto.offset, proto.size, proto.crc32c = stored.offset, stored.size, stored.crc
            table.add(key_of(spec.name), proto.SerializeToString())
        table.finish()
        finish(file)
        _read_back(temporary, files, written, tensors)
        temporary.replace(files.index)
        sync_names(files.index)


def _read_back(
    index_path: Path, files: BundleFiles, written: list[WrittenTensor], tensors: Mapping[str, Tensor]
) -> None:
    """Check that the index matches what was written, and verify strings and variants, whose checksums it contains.

    Raises:
        CorruptCheckpoint: it does not match, or a tensor was not written.
    """
    index = read_index(index_path)
    data = BundleData(files, index)
    found = {name: entry.spec for name, entry in index.entries.items()}
    require_same_tensors(files.index, found, {name: tensor.spec for name, tensor in tensors.items()})
    if index.entries != {item.spec.name: BundleEntry(item.spec, item.stored, ()) for item in written}:
        raise CorruptCheckpoint(f"{files.index}: the index that was written does not read back correctly")
    for entry in index.entries.values():
        if not entry.spec.dtype.itemsize:
            data.verify_checksum(entry)


def _write_tensors(file: BinaryIO, path: Path, tensors: Mapping[str, Tensor], shard: int) -> list[WrittenTensor]:
    """Write the tensors of a shard; numbers are verified at once, strings and variants later with the index."""
    written = []
    with Copier(file, path) as copier:
        for name, tensor in tensors.items():
            named = tensor.renamed(name)
            _require_writable(named.spec)
            if tensor.dtype.itemsize:
                copier.add(named)
                continue
            copier.flush()
            offset = file.tell()
            checksum = _write_strings(file, named) if tensor.dtype is STRING else _copy_variant(file, named)
            written.append(WrittenTensor(named.spec, ByteRange(offset, file.tell() - offset, checksum, shard)))
        numbers = copier.finish()
    return written + [
        WrittenTensor(spec, ByteRange(at, spec.nbytes, crc.mask(checksum), shard)) for spec, at, checksum in numbers
    ]


def _require_writable(spec: TensorSpec) -> None:
    key = key_of(spec.name)
    if key == HEADER_KEY or is_slice_key(key):
        raise FormatError(f"a bundle cannot store a tensor named {spec.name!r}: the name is reserved")
    if len(spec.shape) > RANK_LIMIT:
        raise FormatError(f"{spec.name} has {len(spec.shape)} dimensions, a bundle stores at most {RANK_LIMIT}")
    if spec.dtype is RESOURCE:
        raise FormatError(f"{spec.name} is a resource, which no checkpoint can store")


def _write_strings(file: BinaryIO, tensor: Tensor) -> int:
    elements = as_bytes(tensor.read().ravel().tolist(), tensor.name)
    if len(elements) != tensor.spec.elements:
        gave = counted(len(elements), "string")
        raise CkptError(f"{tensor.name} has {gave}, expected as many as its shape {list(tensor.shape)} has")
    head, running = encode_string_lengths(elements)
    file.write(head)
    for element in elements:
        file.write(element)
        running = crc.extend(running, element)
    return crc.mask(running)


def _copy_variant(file: BinaryIO, tensor: Tensor) -> int:
    if not isinstance(tensor, StoredVariant):
        raise FormatError(f"{tensor.name} is a variant, which can only be copied from another bundle")
    raw = tensor.stored_bytes()
    file.write(raw)
    return variant_checksum(raw, tensor.spec.elements)
