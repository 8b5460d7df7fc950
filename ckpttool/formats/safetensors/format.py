"""safetensors: a JSON header and the bytes of the tensors, in one file or in several with an index.

The format: https://github.com/huggingface/safetensors#format. It has no checksums: a changed number is not detected.

An index is written last and makes several files a checkpoint. An existing checkpoint is replaced by renaming its index.
Its files keep their names until then, so the new ones need others: the count of files, which is in every name, is one
that is not in use. Files beyond those that are needed are empty.

Of tied weights one is written, as `safetensors.torch.save_model` does it: `formats.ties`.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import ClassVar

from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile
from ckpttool.core.plain_files import is_file, names_in
from ckpttool.core.tensors import Tensor, TensorSpec
from ckpttool.formats.format import PLAIN, Format, Tensors, Writing
from ckpttool.formats.reading.data_file import LFS_POINTER, CheckpointFile
from ckpttool.formats.reading.raw_tensors import RawTensors, TensorLocation
from ckpttool.formats.safetensors.header import (
    LENGTH,
    NAMES,
    TEXTS,
    Header,
    encode,
    is_safetensors,
    read_header,
    require_writable,
)
from ckpttool.formats.safetensors.index import INDEX_SUFFIX, SHARD, SUFFIX, Names, encode_index, locate, read_index
from ckpttool.formats.ties import ties, untied
from ckpttool.formats.writing.copying import Copier, split_by_size
from ckpttool.formats.writing.files import finish, refuse_existing, replacing, sync_names, writing
from ckpttool.formats.writing.staging import reserved
from ckpttool.remote import sparse_files

FRAMEWORKS = {"pt": "torch", "tf": "tensorflow", "flax": "flax"}
"""The frameworks by their names in the entry `format` of the metadata."""
ALIGNMENT = {dtype: place for place, dtype in enumerate(TEXTS)}
ROOM = 16
"""The bytes by which a header may become longer when the rest of its metadata is known: by the digits of a checksum."""


class SafetensorsTensors(RawTensors):
    """The tensors of a checkpoint by name, file by file, in the order of their bytes."""

    def __init__(self, path: Path) -> None:
        """Read the headers of a file, or of each file of an index.

        Raises:
            MissingFile: the file, or one of several, does not exist.
            CorruptCheckpoint: a header or the index breaks a rule of the format, or a file is truncated.
            FormatError: a tensor has a dtype unknown to the format, or the index refers to a file outside its folder.
        """
        super().__init__()
        file_or_index = locate(path)
        if file_or_index is None:
            raise MissingFile(f"{path} is missing: no such safetensors file")
        if file_or_index.name.endswith(INDEX_SUFFIX):
            self._take_indexed(file_or_index)
        else:
            single = CheckpointFile(file_or_index)
            header = read_header(single)
            self.metadata, self.left_out = header.metadata, tuple(_named(header.unread))
            self._take(single, header)
        for alias, kept in ties(self.metadata, self.locations).items():
            location = self.locations[kept]
            spec = TensorSpec(alias, location.spec.shape, location.spec.dtype)
            self.locations.setdefault(alias, location._replace(spec=spec))

    def _take(self, file: CheckpointFile, header: Header) -> None:
        self.locations.update(
            {name: TensorLocation(file, spec, offset) for name, (spec, offset) in header.locations.items()}
        )

    def _take_indexed(self, path: Path) -> None:
        """Add the tensors of an index; other tensors of its files are skipped, and listed."""
        index = read_index(path)
        texts: dict[str, str] = {}
        left_out: list[str] = []
        for name, wanted in index.files.items():
            file = CheckpointFile(path.with_name(name))
            header = read_header(file)
            if missing := sorted(wanted - header.locations.keys() - header.unread.keys()):
                raise CorruptCheckpoint(
                    f"{path}: {missing[0]} should be in {name} according to the index, which does not contain it"
                )
            left_out += [f"{name}: {other}" for other in header.locations if other not in wanted]
            left_out += _named(header.unread)
            self._take(file, Header({key: header.locations[key] for key in header.locations if key in wanted}, {}))
            texts = header.metadata | texts
        self.metadata, self.left_out = index.metadata | texts, tuple(left_out)


def _named(unread: Mapping[str, str]) -> list[str]:
    """Return descriptions of tensors whose dtype is not supported."""
    return [f"{name} ({dtype}, which is not supported)" for name, dtype in unread.items()]


class Safetensors(Format):
    """The format of Hugging Face's hub."""

    NAME = "safetensors"
    CHECKSUMS = False
    SUFFIXES = (SUFFIX, INDEX_SUFFIX)
    LIMITS = "stores numbers only: no strings, variants, int4, complex128 or quantised ones; keeps no checksums"
    METADATA = LATER = True
    EXPECTED_METADATA: ClassVar[Mapping[str, str]] = {"format": "pt"}
    """transformers 4 refuses a file whose metadata has no format (`modeling_utils.load_state_dict`)."""
    HOLDS = frozenset(NAMES.values())
    OPTIONS = frozenset({"shard_bytes"})
    IN_FOLDER = ("model" + INDEX_SUFFIX, "model" + SUFFIX)

    def recognises(self, path: Path) -> bool:
        """Return whether a file with such a header, or an index of some, is at the path, beside it, or in it."""
        if path.is_dir():
            return any(name.endswith((SUFFIX, INDEX_SUFFIX)) for name in names_in(path))
        file_or_index = locate(path)
        if file_or_index is None:
            return False
        with sparse_files.opened(file_or_index) as file:
            start = file.read(LENGTH + 1)
        return is_safetensors(start) or (file_or_index.name.endswith(self.SUFFIXES) and start[:LENGTH] != LFS_POINTER)

    def framework(self, tensors: Tensors) -> str | None:
        """Return the framework in the entry `format`, which Hugging Face's libraries write."""
        return FRAMEWORKS.get(tensors.metadata.get("format", ""))

    def open(self, path: Path) -> SafetensorsTensors:
        """Read the headers; raises as `SafetensorsTensors` does."""
        return SafetensorsTensors(path)

    def save(self, tensors: Mapping[str, Tensor], path: Path, how: Writing = PLAIN) -> None:
        """Write one file, or several and an index, as `write_safetensors` does."""
        write_safetensors(tensors, path, how)

    def outputs(self, path: Path) -> list[Path]:
        """Return the single file, the index, and the files that the index may list."""
        names = Names.of(path)
        shards = [shard for shard, _ in names.shards()] if is_file(names.index) else []
        return [names.single, names.index, *shards]

    def check(self, path: Path, overwrite: bool) -> None:
        """Check that an output may be written: existing files, also those that no index lists, need `overwrite`."""
        refuse_existing([*self.outputs(path), *(shard for shard, _ in Names.of(path).shards())], overwrite)

    def stem(self, name: str) -> str:
        """Return the common beginning of the names of several files and their index."""
        return name.removesuffix(INDEX_SUFFIX).removesuffix(SUFFIX)

    def files_beside(self, path: Path) -> list[Path]:
        """Return the index beside a name that may refer to several files."""
        return [Names.of(path).index] if path.name.endswith(SUFFIX) else []


def write_safetensors(tensors: Mapping[str, Tensor], path: Path, how: Writing) -> None:
    """Write tensors into one file, or into several if they exceed a limit in `how` or the path is that of an index.

    Raises:
        FormatError: the format cannot store a tensor.
        CorruptCheckpoint: the output does not read back correctly.
    """
    named = {name: tensor.renamed(name) for name, tensor in tensors.items()}
    for tensor in named.values():
        require_writable(tensor.spec)
    named, metadata = untied(named, how.metadata, how.origins)
    names, shards = Names.of(path), split_by_size(named, how.shard_bytes)
    if len(shards) > 1 or path.name.endswith(INDEX_SUFFIX):
        _write_several(shards, names, metadata, how)
    else:
        _write_file(named, names.single, metadata, how)


def _write_several(shards: list[dict[str, Tensor]], names: Names, metadata: Mapping[str, str], how: Writing) -> None:
    count = reserved(names.index, _counts, len(shards), lambda count: names.shard(0, count))
    files = {names.shard(number, count): shards[number] if number < len(shards) else {} for number in range(count)}
    for path, tensors in files.items():
        _write_file(tensors, path, metadata, how)
    with replacing(names.index, partial(_check_index, files)) as file:
        nbytes = sum(tensor.nbytes for tensors in shards for tensor in tensors.values())
        file.write(encode_index({path.name: list(tensors) for path, tensors in files.items()}, nbytes))


def _check_index(files: Mapping[Path, Mapping[str, Tensor]], index: Path) -> None:
    wanted = {path.name: set(tensors) for path, tensors in files.items() if tensors}
    if read_index(index).files != wanted:
        raise CorruptCheckpoint(f"{index}: the index that was written does not read back correctly")


def _write_file(tensors: Mapping[str, Tensor], path: Path, metadata: Mapping[str, str], how: Writing) -> None:
    """Write one file in the order of the safetensors package, read it back, and rename it to its final name.

    The header is written again at the end, with the texts that are known only then.
    """
    ordered = sorted(tensors.values(), key=lambda tensor: (-ALIGNMENT[tensor.dtype], tensor.name))
    specs = [tensor.spec for tensor in ordered]
    with writing(path) as (temporary, file):
        size = file.write(encode(specs, metadata, len(encode(specs, metadata)) + (ROOM if how.later else 0)))
        with Copier(file, temporary) as copier:
            for tensor in ordered:
                copier.add(tensor)
            copied = copier.finish()
        if how.later:
            metadata = {**metadata, **how.later()}
            file.seek(0)
            file.write(encode(specs, metadata, size))
        finish(file)
        wanted = Header({item.spec.name: (item.spec, item.offset) for item in copied}, dict(metadata))
        if read_header(CheckpointFile(temporary)) != wanted:
            raise CorruptCheckpoint(f"{path}: the header that was written does not read back correctly")
        temporary.replace(path)
        sync_names(path)


def _counts(index: Path) -> Iterator[int]:
    """Yield the counts of files in the names of existing files, or of those in the index."""
    names = Names.of(index)
    yield from (count for _, count in names.shards())
    yield from (int(match[2]) for name in _named_by(names.index) if (match := SHARD.search(name)))


def _named_by(index: Path) -> set[str]:
    """Return the files that an index lists; none if it is damaged or missing."""
    try:
        return set(read_index(index).files)
    except (FormatError, FileNotFoundError):
        return set()
