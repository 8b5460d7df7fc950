"""safetensors: a JSON header and the bytes of the tensors, in one file or in several with an index.

The format: https://github.com/huggingface/safetensors#format. It keeps no checksums: what lies between the rules of its
header, a changed number, nothing can find.
"""

from collections.abc import Mapping
from pathlib import Path

from ckpttool.core.errors import CorruptCheckpoint, MissingFile
from ckpttool.core.tensors import Tensor, TensorSpec
from ckpttool.formats.format import PLAIN, Format, Writing
from ckpttool.formats.reading.data_file import LFS_POINTER, DataFile
from ckpttool.formats.reading.raw_tensors import RawTensors, TensorLocation
from ckpttool.formats.safetensors.header import LENGTH, NAMES, Header, is_safetensors, read_header
from ckpttool.formats.safetensors.index import INDEX_SUFFIX, SUFFIX, Names, locate, read_index
from ckpttool.formats.safetensors.ties import ties
from ckpttool.formats.safetensors.writer import write_safetensors
from ckpttool.remote import sparse_files


class SafetensorsTensors(RawTensors):
    """The tensors of a checkpoint by name, file after file in the order of their bytes."""

    def __init__(self, path: Path) -> None:
        """Read the headers of a file, or of each file that an index names.

        Raises:
            MissingFile: there is none, or one of several is not there.
            CorruptCheckpoint: a header or the index breaks a rule of the format, or a file is cut off.
            FormatError: a tensor has a dtype that is not read, or the index names what is not beside it.
        """
        super().__init__()
        found = locate(path)
        if found is None:
            raise MissingFile(f"{path} is missing: no such safetensors file")
        if found.name.endswith(INDEX_SUFFIX):
            self._take_indexed(found)
        else:
            single = DataFile(found)
            header = read_header(single)
            self.metadata = header.metadata
            self._take(single, header)
        for alias, kept in ties(self.metadata, self.locations).items():
            file, spec, offset = self.locations[kept]
            self.locations.setdefault(alias, TensorLocation(file, TensorSpec(alias, spec.shape, spec.dtype), offset))

    def _take(self, file: DataFile, header: Header) -> None:
        self.locations.update(
            {name: TensorLocation(file, spec, offset) for name, (spec, offset) in header.locations.items()}
        )

    def _take_indexed(self, path: Path) -> None:
        """Take the tensors that an index names; what a file holds beside them is left out, and named."""
        index = read_index(path)
        texts: dict[str, str] = {}
        left_out: list[str] = []
        for name, wanted in index.files.items():
            file = DataFile(path.with_name(name))
            header = read_header(file)
            if missing := sorted(wanted - header.locations.keys()):
                raise CorruptCheckpoint(f"{path}: {missing[0]} is said to be in {name}, which does not hold it")
            left_out += [f"{name}: {other}" for other in header.locations if other not in wanted]
            self._take(file, Header({key: header.locations[key] for key in header.locations if key in wanted}, {}))
            texts = header.metadata | texts
        self.metadata, self.left_out = index.metadata | texts, tuple(left_out)


class Safetensors(Format):
    """The format of Hugging Face's hub."""

    NAME = "safetensors"
    SUFFIXES = (SUFFIX, INDEX_SUFFIX)
    LIMITS = "holds numbers only: no strings, variants, int4, complex128 or quantised ones; keeps no checksums"
    METADATA = True
    HOLDS = frozenset(NAMES.values())
    OPTIONS = frozenset({"shard_bytes"})
    IN_FOLDER = ("model" + INDEX_SUFFIX, "model" + SUFFIX)

    def recognises(self, path: Path) -> bool:
        """Say whether there is a file with such a header, or an index of some: at the path, beside it, or in it."""
        if path.is_dir():
            return any(path.glob(f"*{SUFFIX}")) or any(path.glob(f"*{INDEX_SUFFIX}"))
        found = locate(path)
        if found is None:
            return False
        with sparse_files.opened(found) as file:
            start = file.read(LENGTH + 1)
        return is_safetensors(start) or (found.name.endswith(self.SUFFIXES) and start[:LENGTH] != LFS_POINTER)

    def open(self, path: Path) -> SafetensorsTensors:
        """Read the headers; `SafetensorsTensors` says what is raised."""
        return SafetensorsTensors(path)

    def save(self, tensors: Mapping[str, Tensor], path: Path, overwrite: bool, how: Writing = PLAIN) -> None:
        """Write one file, or several and an index; `write_safetensors` says how."""
        write_safetensors(tensors, path, overwrite, how)

    def stem(self, name: str) -> str:
        """Return what the names of several files and their index begin with."""
        return name.removesuffix(INDEX_SUFFIX).removesuffix(SUFFIX)

    def files_beside(self, path: Path) -> list[Path]:
        """Return the index beside a name that several files may be meant by."""
        return [Names.of(path).index] if path.name.endswith(SUFFIX) else []
