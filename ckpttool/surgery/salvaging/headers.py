"""Salvaging safetensors files that are truncated, or one of several of which is missing."""

from pathlib import Path

from ckpttool.core.errors import CkptError, MissingFile
from ckpttool.formats.reading.data_file import CheckpointFile
from ckpttool.formats.reading.raw_tensors import RawTensors, TensorLocation
from ckpttool.formats.safetensors.header import readable_header
from ckpttool.formats.safetensors.index import INDEX_SUFFIX, locate, read_index
from ckpttool.surgery.salvaging.tables import Problems


class DamagedSafetensors(RawTensors):
    """The tensors whose bytes exist; without checksums, it is unknown whether they are unchanged."""

    def __init__(self, path: Path, problems: Problems) -> None:
        """Read the headers of the existing files.

        Raises:
            MissingFile: there is no file.
            CorruptCheckpoint: the header of the only file cannot be read.
        """
        super().__init__()
        file = locate(path)
        if file is None:
            raise MissingFile(f"{path} is missing: no such safetensors file")
        if not file.name.endswith(INDEX_SUFFIX):
            self._take(file, problems)
            return
        for name, wanted in read_index(file).files.items():
            try:
                self._take(file.with_name(name), problems)
            except CkptError as error:
                problems |= dict.fromkeys(sorted(wanted - self.locations.keys()), str(error))

    def _take(self, path: Path, problems: Problems) -> None:
        file = CheckpointFile(path)
        header, lost = readable_header(file)
        problems |= lost
        self.metadata = {**self.metadata, **header.metadata}
        for name, (spec, offset) in header.locations.items():
            self.locations[name] = TensorLocation(file, spec, offset)
