"""Salvaging HDF5 files with damaged groups or datasets, or a missing end: reads what HDF5 can still open."""

import os
import shutil
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.temporary_folders import TemporaryFolder
from ckpttool.core.tensors import Tensor
from ckpttool.formats.format import Tensors
from ckpttool.formats.hdf5.datasets import checked_place
from ckpttool.formats.hdf5.heaps import require_heaps_that_end
from ckpttool.formats.hdf5.source import Hdf5Source, end_address, opened
from ckpttool.formats.hdf5.values import oddity, text_of
from ckpttool.surgery.salvaging.tables import Problems

_FAULTS = (OSError, RuntimeError, KeyError, ValueError, TypeError, UnicodeDecodeError)
"""The exceptions of h5py for damaged files."""


class DamagedHdf5(Tensors):
    """The datasets by their paths in the file; of a truncated file, those whose bytes exist."""

    def __init__(self, path: Path, problems: Problems) -> None:
        """Traverse all objects that can be opened.

        Raises:
            CorruptCheckpoint: the file itself cannot be opened.
        """
        self._problems, self._tensors = problems, dict[str, Tensor]()
        self._size = path.stat().st_size
        self._source = Hdf5Source.of(self._whole(path))
        self._heaps = _problem_of_heaps(self._source)
        with opened(self._source) as file:
            self._walk(file)

    def __getitem__(self, name: str) -> Tensor:
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def _whole(self, path: Path) -> Path:
        """Return the file, or if it is truncated a copy that is padded with zeros to its declared size."""
        with path.open("rb") as file:
            end = end_address(file.read(64))
        if end is None or end <= self._size:
            return path
        self._problems["the end of the file"] = f"{path.name} has {self._size} bytes, expected {end}: it is truncated"
        folder = TemporaryFolder.new("salvage")
        weakref.finalize(self, folder.remove)
        copy = Path(shutil.copyfile(path, folder.path / path.name))
        try:
            os.truncate(copy, end)
        except (OverflowError, OSError):  # the size exceeds the disk, so it is damaged itself
            return path
        return copy

    def _walk(self, file: Any) -> None:
        import h5py

        seen: set[int] = set()
        todo: list[tuple[str, Callable[[], Any]]] = [("", lambda: file)]
        while todo:
            path, get = todo.pop()
            try:
                member = get()
                address = int(h5py.h5o.get_info(member.id).addr)
                if isinstance(member, h5py.Group) and address not in seen:
                    seen.add(address)
                    for name in reversed(list(member)):
                        here = f"{path}/{text_of(name)}".lstrip("/")
                        if isinstance(name, bytes):  # h5py returns bytes that it cannot decode
                            self._problems[here] = "its name is not UTF-8"
                        elif isinstance(member.get(name, getlink=True), h5py.HardLink):
                            todo.append((here, partial(member.__getitem__, name)))
                elif isinstance(member, h5py.Dataset):
                    self._take(member, path)
            except _FAULTS as error:
                self._problems[path or "the root"] = f"HDF5 cannot open it: {' '.join(str(error).split())}"

    def _take(self, dataset: Any, path: str) -> None:
        if dataset.is_virtual or dataset.external or oddity(dataset):
            self._problems[path] = "it is not an array of this file"
        elif self._heaps and dataset.dtype.kind == "O":  # strings of variable length, which are stored in the heaps
            self._problems[path] = self._heaps
        elif _end_of(dataset) > self._size:
            self._problems[path] = (
                f"its bytes end at {_end_of(dataset)}, but the file has {self._size} bytes: it is truncated"
            )
        else:
            try:
                self._tensors[path] = checked_place(self._source, dataset, path).tensor(self._source)
            except FormatError as error:
                self._problems[path] = str(error).removeprefix(f"{self._source.path}: ")


def _problem_of_heaps(source: Hdf5Source) -> str | None:
    """Return why reading strings could take forever; None if it does not."""
    try:
        require_heaps_that_end(source)
    except CorruptCheckpoint as error:
        return str(error)
    return None


def _end_of(dataset: Any) -> int:
    """Return the offset of the end of a dataset's bytes in its file."""
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        return 0 if offset is None else int(offset + dataset.id.get_storage_size())
    chunks = (dataset.id.get_chunk_info(number) for number in range(dataset.id.get_num_chunks()))
    return max((int(chunk.byte_offset + chunk.size) for chunk in chunks), default=0)
