"""Salvage: the tensors of a damaged checkpoint that can be read, each checked, and what is lost with the reason."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, CorruptCheckpoint, MissingFile
from ckpttool.core.tensors import Tensor
from ckpttool.formats import registry
from ckpttool.formats.format import Tensors
from ckpttool.formats.hdf5.source import is_hdf5
from ckpttool.formats.reading.url_files import local
from ckpttool.formats.tensorflow.bundle import files_of
from ckpttool.formats.tensorflow.prefix import prefix_of
from ckpttool.formats.tensorflow.v1 import files_of_version_1
from ckpttool.lineage.provenance import Provenance, SourceFile
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
"""By format, what reads a file of which a part is damaged that all the rest depends on."""


@dataclass(frozen=True)
class Salvaged:
    """The tensors that are whole, what is lost, and the format."""

    tensors: Checkpoint
    lost: tuple[Damage, ...]
    format: str


def salvage(path: Path) -> Salvaged:
    """Read what can be read of a checkpoint: every tensor of what is returned was read to its end, and checked.

    Raises:
        MissingFile: the path does not exist.
        FormatError: it is not a checkpoint.
        CorruptCheckpoint: nothing of it can be read.
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
    """Open a checkpoint as it should be, else as a damaged one of its format."""
    try:
        found = registry.find(path)
    except MissingFile:
        raise
    except CkptError:
        if is_hdf5(path):  # what says which format of these it is cannot be opened
            return "hdf5", DamagedHdf5(path, problems)
        tensors = DamagedV1([path], problems)  # of which the end is lost, by which it is told
        if not tensors:
            raise
        return "v1", tensors
    try:
        return found.NAME, found.open(path)
    except CkptError:
        if found.NAME not in READERS or (found.NAME == "keras-weights" and path.suffix == ".json"):
            raise  # of the files that a map of weights names, each can be salvaged by itself
    return found.NAME, READERS[found.NAME](path, problems)


def _checkpoint(path: Path, name: str, tensors: Tensors, whole: Mapping[str, Tensor], lost: int) -> Checkpoint:
    source = SourceFile.of_checkpoint(path, registry.get(name), tensors)
    edit = f"salvaged {counted(len(whole), 'tensor')}, {lost} lost"
    provenance = Provenance((source,)).then(edit)
    return Checkpoint(whole, prefix_of(path), name, tensors.metadata, (), stated=tensors.kinds, provenance=provenance)
