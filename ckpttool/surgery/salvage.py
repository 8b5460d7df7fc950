"""Salvage: recovers the intact tensors of a damaged checkpoint, and lists the lost ones with reasons."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ckpttool.catalogue.local_files import local
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, CorruptCheckpoint, MissingFile
from ckpttool.core.tensors import Tensor
from ckpttool.formats import registry
from ckpttool.formats.format import Tensors
from ckpttool.formats.hdf5.source import is_hdf5
from ckpttool.formats.tensorflow.bundle import files_of
from ckpttool.formats.tensorflow.prefix import prefix_of
from ckpttool.formats.tensorflow.v1 import files_of_version_1
from ckpttool.lineage.provenance import Provenance
from ckpttool.lineage.source_file import SourceFile
from ckpttool.surgery.salvaging.groups import DamagedHdf5
from ckpttool.surgery.salvaging.headers import DamagedSafetensors
from ckpttool.surgery.salvaging.tables import DamagedBundle, DamagedV1, Problems
from ckpttool.surgery.salvaging.zips import damaged_zip
from ckpttool.surgery.verify import Damage

READERS: Mapping[str, Callable[[Path, Problems], Tensors]] = {
    "bundle": lambda path, problems: DamagedBundle(files_of(path), problems),
    "object": lambda path, problems: DamagedBundle(files_of(path), problems),
    "saved-model": lambda path, problems: DamagedBundle(files_of(path / "variables" / "variables"), problems),
    "v1": lambda path, problems: DamagedV1(files_of_version_1(path) or [path], problems),
    "safetensors": DamagedSafetensors,
    "npz": lambda path, problems: damaged_zip(path, "npz", problems),
    **dict.fromkeys(("hdf5", "keras-legacy", "keras-weights"), DamagedHdf5),
    "torch": lambda path, problems: damaged_zip(path, "torch", problems),
}
"""Readers, by format, for files with a damaged part on which all the rest depends."""


@dataclass(frozen=True)
class Salvaged:
    """The intact tensors, the lost ones, and the format."""

    tensors: Checkpoint
    lost: tuple[Damage, ...]
    format: str


def salvage(path: Path) -> Salvaged:
    """Recover the intact tensors of a checkpoint; each returned tensor was read completely and verified.

    Raises:
        MissingFile: the path does not exist.
        FormatError: it is not a checkpoint.
        CorruptCheckpoint: no tensor can be read.
    """
    path = local(path)
    problems: Problems = {}
    name, tensors = _opened(path, problems)
    whole: dict[str, Tensor] = {}
    for checked in tensors.checked():
        if checked.problem is not None:
            problems.setdefault(checked.name, checked.problem.removeprefix(f"{path}: "))
        elif checked.name in tensors:
            whole[checked.name] = tensors[checked.name]
    lost = tuple(Damage(each, why) for each, why in problems.items() if each not in whole)
    if not whole:
        first = f": {lost[0].name}: {lost[0].why}" if lost else ""
        raise CorruptCheckpoint(f"{path}: no tensor in it can be read{first}")
    return Salvaged(_checkpoint(path, name, tensors, whole, len(lost)), lost, name)


def _opened(path: Path, problems: Problems) -> tuple[str, Tensors]:
    """Open a checkpoint normally, else with the reader for damaged files of its format."""
    try:
        found = registry.find(path)
    except MissingFile:
        raise
    except CkptError:
        if is_hdf5(path):  # the part that distinguishes the HDF5 formats cannot be opened
            return "hdf5", DamagedHdf5(path, problems)
        tensors = DamagedV1([path], problems)  # its end, which identifies it, may be lost
        if not tensors:
            raise
        return "v1", tensors
    try:
        return found.NAME, found.open(path)
    except CkptError:
        if found.NAME not in READERS or (found.NAME == "keras-weights" and path.suffix == ".json"):
            raise  # the files that an index of weights lists can be salvaged individually
    return found.NAME, READERS[found.NAME](path, problems)


def _checkpoint(path: Path, name: str, tensors: Tensors, whole: Mapping[str, Tensor], lost: int) -> Checkpoint:
    source = SourceFile.of_checkpoint(path, registry.get(name), tensors)
    edit = f"salvaged {counted(len(whole), 'tensor')}, {lost} lost"
    provenance = Provenance((source,)).then(edit)
    return Checkpoint(
        whole, prefix_of(path), format=name, metadata=tensors.metadata, stated=tensors.kinds, provenance=provenance
    )
