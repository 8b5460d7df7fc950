"""DeepSpeed ZeRO folders: float32 weights that are stored as flat parts in the files of several processes.

The layout: deepspeed/utils/zero_to_fp32.py. In stages 1 and 2, the concatenated weights of a group are divided among
the processes; in stage 3, each weight is. No code in a pickle is run.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ckpttool.core.dtypes import DType
from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile
from ckpttool.core.plain_files import is_file, matching, opened
from ckpttool.core.tensors import Array, Tensor, TensorSpec
from ckpttool.formats.format import Checked, Format, Tensors
from ckpttool.formats.pytorch.makers import DTYPES
from ckpttool.formats.pytorch.records import View
from ckpttool.formats.pytorch.zero_files import Flat, Part, Saved, Shape, numbers_of, shapes_of
from ckpttool.formats.reading.data_file import gathered
from ckpttool.formats.reading.limits import RATIO_LIMIT, UNPACKED_LIMIT

OPTIMIZER, MODEL = "*_optim_states.pt", "*_model_states.pt"
LONGEST_NAME = 1000
LATEST = "latest"
"""The file with the name of the latest step's folder."""
TEXTS = ("ds_version", "global_steps", "global_samples", "dp_world_size")
MOST_FILES = 10_000
_PARALLEL = re.compile(r"mp_rank_(\d+)")


class Joined(NamedTuple):
    """A tensor with its parts in order, or as a whole tensor in a file."""

    shape: Shape
    dtype: DType
    parts: tuple[Part, ...]
    whole: tuple[Saved, View] | None = None


class ZeroTensors(Tensors):
    """The weights of a folder, assembled when they are read: trained ones in float32, buffers as they were saved."""

    def __init__(self, folder: Path) -> None:
        """Read the pickles of all files, and find each weight's parts.

        Raises:
            MissingFile: the file of a process is missing, or there is none of the model.
            CorruptCheckpoint: a file is damaged, or the parts do not match the weights.
            FormatError: the model itself is split over several processes, or a pickle references code that could run.
        """
        self.folder = folder
        models = [Saved(path) for path in _files(folder, MODEL)]
        optimizers = [Saved(path) for path in _files(folder, OPTIMIZER)]
        if not models:
            raise MissingFile(f"{folder} has no {MODEL}, which lists the weights")
        self._saved = [*models, *optimizers]
        stage = _stage(optimizers)
        self._joined: dict[str, Joined] = dict(_buffers(models[0]))
        self._keep(_frozen(models, stage))
        self._keep(_trained(models[0], optimizers, stage))
        ties = {alias: name for alias, name in models[0].ties() if name in self._joined and alias not in self._joined}
        self._joined |= {alias: self._joined[name] for alias, name in ties.items()}
        self.metadata = {**models[0].texts(TEXTS), **ties}
        self.left_out = tuple(f"{each.path.name} (an optimizer's state)" for each in optimizers)
        self._require_bytes()

    def _keep(self, found: Iterable[tuple[str, Joined]]) -> None:
        for name, joined in found:
            if name in self._joined:
                raise CorruptCheckpoint(f"{self.folder}: two weights are named {name}")
            self._joined[name] = joined

    def _require_bytes(self) -> None:
        said = sum(math.prod(each.shape) * each.dtype.itemsize for each in self._joined.values())
        there = sum(saved.archive.file.size for saved in self._saved)
        if said > max(UNPACKED_LIMIT, RATIO_LIMIT * there):
            raise FormatError(f"{self.folder}: its weights are declared with {said} bytes, its files have {there}")

    def __getitem__(self, name: str) -> Tensor:
        joined = self._joined[name]
        spec = TensorSpec(name, joined.shape, joined.dtype)
        if joined.whole is not None:
            saved, view = joined.whole
            return Tensor(spec, partial(saved.array, view, name))
        return Tensor(spec, partial(self._read, spec, joined), partial(_pieces, name, joined))

    def __iter__(self) -> Iterator[str]:
        return iter(self._joined)

    def __len__(self) -> int:
        return len(self._joined)

    def checked(self) -> Iterator[Checked]:
        """Read every weight and verify checksums, then those of skipped tensors."""
        yield from super().checked()
        for saved in self._saved:
            yield from saved.archive.rest(saved.held)

    def _read(self, spec: TensorSpec, joined: Joined) -> Array:
        return gathered(_pieces(spec.name, joined), spec.nbytes).view(spec.dtype.numpy).reshape(spec.shape)


class Zero(Format):
    """The format of DeepSpeed's ZeRO."""

    NAME = "torch-zero"
    FRAMEWORK = "torch"
    WHOLE_FOLDER = True
    LIMITS = "is read only, DeepSpeed's folder: `to` safetensors makes one file of the weights in it, without DeepSpeed"
    WRITES = False
    INSTEAD = "folders of DeepSpeed's ZeRO are read only; `to` safetensors writes what PyTorch loads too"
    HOLDS = frozenset(dtype.name for dtype in DTYPES.values())

    def recognises(self, path: Path) -> bool:
        """Return whether a path is a folder with files of processes, or with such folders and a file `latest`."""
        return bool(matching(path, OPTIMIZER)) or _latest(path) is not None

    def open(self, path: Path) -> ZeroTensors:
        """Return the weights; raises the same errors as `ZeroTensors`."""
        return ZeroTensors(path if matching(path, OPTIMIZER) else _latest(path) or path)


def _latest(folder: Path) -> Path | None:
    """Return the folder of the latest step, or None; names that lead out of this folder are ignored."""
    named = folder / LATEST
    if not is_file(named):
        return None
    with opened(named) as file:
        name = file.read(LONGEST_NAME + 1).decode(errors="replace").strip()
    if len(name) > LONGEST_NAME:
        return None
    inside = bool(name) and Path(name).name == name and "\0" not in name and not (folder / name).is_symlink()
    return folder / name if inside and matching(folder / name, OPTIMIZER) else None


def _files(folder: Path, pattern: str) -> list[Path]:
    """Return the files of processes, ordered by the numbers in their names."""
    found = sorted(matching(folder, pattern), key=lambda path: [int(n) for n in re.findall(r"\d{1,18}", path.name)])
    if len(found) > MOST_FILES:
        raise FormatError(f"{folder} has over {MOST_FILES} files of processes, the limit")
    if len({number[1] for path in found if (number := _PARALLEL.search(path.name))}) > 1:
        raise FormatError(
            f"{folder}: the model is split over several processes (mp_rank_01 ...), which is not supported"
        )
    return found


def _stage(optimizers: list[Saved]) -> int:
    """Return the stage of the files, after checking their number."""
    said = optimizers[0].number("zero_stage")
    count = optimizers[0].number("partition_count")
    if said not in (1, 2, 3):
        raise FormatError(f"{optimizers[0].path}: it has stage {said} of ZeRO, expected 1, 2 or 3")
    if count != len(optimizers):
        raise MissingFile(
            f"{optimizers[0].path.parent}: {len(optimizers)} files named {OPTIMIZER} are there, but {count} were "
            "written"
        )
    return said


def _buffers(model: Saved) -> Iterator[tuple[str, Joined]]:
    for name, view in model.views("module", model.names("buffer_names")):
        yield name, Joined(view.shape, view.dtype, (), (model, view))


def _frozen(models: list[Saved], stage: int) -> Iterator[tuple[str, Joined]]:
    """Yield the frozen weights, which are whole in the model's file, or in stage 3 divided among processes."""
    shapes = shapes_of(models[0], "frozen_param_shapes")
    held = [dict(model.views("frozen_param_fragments", shapes)) for model in models]
    for name, shape in shapes.items():
        if not all(name in views for views in held):
            raise CorruptCheckpoint(f"{models[0].path}: {name} is declared as frozen, but is missing")
        if stage < 3:
            view = held[0][name]
            if view.shape != shape:
                raise CorruptCheckpoint(f"{models[0].path}: {name} is {list(view.shape)}, expected {list(shape)}")
            yield name, Joined(shape, view.dtype, (), (models[0], view))
            continue
        flat = Flat([(model, views[name]) for model, views in zip(models, held, strict=True)])
        yield name, Joined(shape, flat.dtype, flat.parts(name, 0, math.prod(shape)))


def _trained(model: Saved, optimizers: list[Saved], stage: int) -> Iterator[tuple[str, Joined]]:
    groups = [
        saved.groups("fp32_flat_groups" if stage == 3 else "single_partition_of_fp32_groups") for saved in optimizers
    ]
    shapes = numbers_of(model)
    if stage == 3:
        yield from _cut_each({name: shape for group in shapes for name, shape in group.items()}, optimizers, groups)
        return
    if {len(group) for group in groups} != {len(shapes)}:
        raise CorruptCheckpoint(
            f"{model.path}: it has {len(shapes)} groups of weights, the optimizers' files have a different number"
        )
    for number, group in enumerate(shapes):
        flat = Flat([(saved, views[number]) for saved, views in zip(optimizers, groups, strict=True)])
        at = 0
        for name, shape in group.items():
            yield name, Joined(shape, flat.dtype, flat.parts(name, at, math.prod(shape)))
            at += math.prod(shape)
        aligned = 2 * len(optimizers)
        if -(-at // aligned) != -(-flat.size // aligned):
            raise CorruptCheckpoint(f"{model.path}: group {number} has {at} numbers, but its files have {flat.size}")


def _cut_each(
    shapes: Mapping[str, Shape], optimizers: list[Saved], groups: list[list[View]]
) -> Iterator[tuple[str, Joined]]:
    """Yield weights of which each process has a part of equal size, the last one padded."""
    flats = [Flat([(saved, view) for view in views]) for saved, views in zip(optimizers, groups, strict=True)]
    at = 0
    for name, shape in shapes.items():
        count = math.prod(shape)
        step, left = -(-count // len(flats)), count
        parts: list[Part] = []
        for flat in flats:
            parts += flat.parts(name, at, min(step, left))
            left -= min(step, left)
        yield name, Joined(shape, flats[0].dtype, tuple(parts))
        at += step
    if any(flat.size != at for flat in flats):
        sizes = sorted({flat.size for flat in flats})
        raise CorruptCheckpoint(
            f"{optimizers[0].path}: the weights need {at} numbers of each file, but there are {sizes}"
        )


def _pieces(name: str, joined: Joined) -> Iterator[memoryview]:
    for part in joined.parts:
        yield from part.saved.pieces(part.view, part.start, part.size, name)
