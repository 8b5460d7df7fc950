"""Zarr, version 2 and 3: a folder with an array, or with groups of arrays, without the zarr package."""

from pathlib import Path

from ckpttool.core.plain_files import is_file, resolved
from ckpttool.formats.format import Format
from ckpttool.formats.zarr.arrays import SECOND, THIRD, ZarrTensors
from ckpttool.formats.zarr.described import READ
from ckpttool.formats.zarr.store import files_in

GROUP = ".zgroup"
SUFFIX = ".zarr"


class Zarr(Format):
    """The format of zarr.dev."""

    NAME = "zarr"
    CHECKSUMS = False
    WHOLE_FOLDER = True
    LIMITS = "is read only, arrays in chunks, a folder with groups of them: save safetensors; keeps no checksums"
    WRITES = False
    INSTEAD = "folders of Zarr are read only; `to` safetensors keeps the same arrays"
    HOLDS = frozenset(READ)

    def recognises(self, path: Path) -> bool:
        """Return whether a path is a folder with an array or a group, or its metadata file."""
        return any(is_file(_folder(path) / name) for name in (GROUP, SECOND, THIRD))

    def open(self, path: Path) -> ZarrTensors:
        """Return the arrays by their paths; a single array in the folder itself has the folder's name.

        Raises the same errors as `ZarrTensors`.
        """
        folder = _folder(path)
        tensors = ZarrTensors(folder, files_in(folder))
        tensors.renamed({"": resolved(folder).name.removesuffix(SUFFIX)})
        return tensors


def _folder(path: Path) -> Path:
    return path.parent if path.name in (GROUP, SECOND, THIRD) else path
