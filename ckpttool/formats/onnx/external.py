"""Data of a model that lies in files beside it: where, and never anywhere else.

The keys: https://onnx.ai/onnx/repo-docs/ExternalData.html.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile
from ckpttool.formats.reading.data_file import DataFile
from ckpttool.formats.reading.raw_tensors import ClosedFile


class Neighbours:
    """The data files in a model's folder; there may be one to each tensor."""

    def __init__(self, model: Path) -> None:
        """Take the model's path."""
        self._model = model
        self._files: dict[str, ClosedFile] = {}

    def place(self, name: str, said: Mapping[str, str], nbytes: int) -> tuple[ClosedFile, int]:
        """Return the file and the offset of a tensor's bytes.

        Raises:
            FormatError: the file is not in the model's folder, or is none.
            MissingFile: it is not there.
            CorruptCheckpoint: it does not have those bytes, or offset and length are no numbers.
        """
        location = said.get("location", "")
        file = self._files.get(location) or self._open(name, location)
        self._files[location] = file
        offset = self._number(name, said.get("offset", "0"))
        length = self._number(name, said.get("length", str(file.size - offset)))
        if length != nbytes:
            raise CorruptCheckpoint(f"{self._model}: {name} has {nbytes} bytes, {length} are said to be in {location}")
        if offset + length > file.size:
            raise CorruptCheckpoint(
                f"{file.path}: {name} ends at byte {offset + length}, the file has {file.size}: it is cut off"
            )
        return file, offset

    def _open(self, name: str, location: str) -> ClosedFile:
        path, folder = PurePosixPath(location), self._model.parent
        leads_away = path.is_absolute() or ".." in path.parts or {"\\", "\0", ":"} & set(location) or not path.parts
        inside = not leads_away and (folder / path).resolve().is_relative_to(folder.resolve())
        if not inside:
            raise FormatError(
                f"{self._model}: {name} is said to be in {location[:80]!r}, which is outside of its folder"
            )
        if not (folder / path).exists():
            raise MissingFile(f"{folder / path} is missing: {name} of {self._model.name} is in it")
        if not (folder / path).is_file():
            raise FormatError(f"{folder / path} is not a file: {name} of {self._model.name} is said to be in it")
        return ClosedFile.of(DataFile(folder / path))

    def _number(self, name: str, text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise CorruptCheckpoint(
                f"{self._model}: {name} is said to lie at {text[:40]!r}, expected a number of bytes"
            )
        return int(text)
