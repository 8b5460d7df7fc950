"""Saves: what a run writes periodically, so that it can resume after an interruption.

`OUT.saves/` contains `step-00001100.ckpt`, a complete model with the optimizer's state, and `step-00001100.state.json`
with the position of the run; a save without the latter is incomplete and ignored. If the best epoch is to be kept, its
weights are there too, as `best-0007.ckpt`.
"""

import json
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.core.errors import ExistingOutput, PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.formats.tensorflow.tied_graph import require_tied
from ckpttool.formats.wire import checked_json
from ckpttool.formats.writing.files import replacing
from ckpttool.formats.writing.staging import settle
from ckpttool.formats.writing.temporary import is_temporary, sweep
from ckpttool.graph import files
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.lineage.output import staged_output
from ckpttool.model.families import CheckpointWriter
from ckpttool.model.model import write_model
from ckpttool.training.run import Epoch, Position
from ckpttool.training.save_interval import Every
from ckpttool.training.save_state import (
    BEST,
    STATE,
    KeptState,
    SaveState,
    as_asked_now,
    hash_of_prefix,
    name_of_step,
)

_STEP = re.compile(r"step-\d{8,}\.ckpt")


@dataclass(frozen=True)
class KeptWeights:
    """The weights that will be written at the end: those of an epoch, with its graph and its frozen weights."""

    epoch: Epoch
    graph: Graph
    tensors: Mapping[str, Tensor]
    frozen: tuple[str, ...]


@dataclass(frozen=True)
class Saved:
    """A complete save: the position of the run, its tensors, and the kept weights."""

    position: Position
    tensors: Mapping[str, Tensor]
    kept: KeptWeights | None


def refuse_saves(output: str | Path) -> None:
    """Check that there are no saves of another run.

    Raises:
        ExistingOutput: there are some.
    """
    if _states(_folder(output)):
        raise ExistingOutput(f"{_folder(output)} has saves of a run: resume with `resume`, or `overwrite` them")


def asked_before(output: str | Path) -> Mapping[str, Any] | None:
    """Return the options of the run of the latest save; None if there is no save.

    Raises:
        CorruptCheckpoint: the save is damaged.
    """
    states = _states(_folder(output))
    return SaveState.read(states[-1]).asked if states else None


def _folder(output: str | Path) -> Path:
    return Path(f"{output}.saves")


def _states(folder: Path) -> list[Path]:
    """Return the states of the saves in a folder, the latest last; an interrupted commit is completed first."""
    settle(folder)
    return sorted(folder.glob(f"*{STATE}"))


class Saves:
    """The saves of one run in their folder: when one is due, writing, finding, and deleting old ones."""

    def __init__(self, output: str | Path, every: Every | None, keep: int, asked: Mapping[str, Any]) -> None:
        """Initialise with the output of the run, and `asked`: what must be the same in a resumed run.

        `last` is the prefix of the latest save that this run has written or resumed from.
        """
        self.folder = _folder(output)
        self._every, self._keep, self._asked = every, keep, json.loads(json.dumps(asked, default=str))
        self.last: Path | None = None
        self._source: Path | None = None
        self._last_step, self._last_time = 0, time.monotonic()

    def clear(self) -> None:
        """Delete all saves."""
        states = _states(self.folder)
        if self.folder.is_dir():
            sweep(self.folder)
        for path in [*states, *self.folder.glob("[!.]*.ckpt.*")]:
            path.unlink()
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()

    @property
    def done(self) -> list[Path]:
        """The folder, if the commit is to remove it: no saves were requested, and it has no other files."""
        there = self.folder.iterdir() if self.folder.is_dir() else ()
        own = all(path.name.endswith(STATE) or _is_own(path) or is_temporary(path.name) for path in there)
        return [self.folder] if own and not self._every else []

    def end(self) -> None:
        """Delete the save from which the run was resumed, if it was only kept for that; call this before the commit."""
        self._source = None
        self._forget()

    def ended(self) -> None:
        """Delete what is left of saves that were not requested, after the commit: a folder with other files stays."""
        if not self._every:
            self.clear()

    def due(self, position: Position) -> bool:
        """Return whether a save is due at a position; saves by epoch are due at the start of an epoch."""
        if self._every is None or position.step == self._last_step:
            return False
        return self._every.is_due(position, time.monotonic() - self._last_time)

    def steps_left(self, step: int) -> int | None:
        """Return the number of steps until the next save; None if the interval is not in steps."""
        return self._every.steps_left(step) if self._every else None

    def write(self, graph: Graph, tensors: Mapping[str, Tensor], position: Position, kept: KeptWeights | None) -> Path:
        """Write a save, delete the oldest beyond those to keep, and return its prefix."""
        self.folder.mkdir(parents=True, exist_ok=True)
        prefix = self.folder / f"{name_of_step(position.step)}.ckpt"
        state = {"position": asdict(position), "kept": self._write_kept(kept), "asked": self._asked}
        with staged_output(prefix, CheckpointWriter(prefix), True, [self._state_path(prefix)]) as place:
            write_model(graph, tensors, place, overwrite=False)
            with replacing(self._state_path(place)) as file:
                file.write(checked_json.dumps({**state, "sha256": hash_of_prefix(place)}))
        self.last, self._last_step, self._last_time = prefix, position.step, time.monotonic()
        self._forget()
        return prefix

    def latest(self) -> Saved | None:
        """Return the latest complete save; None if there is none.

        Raises:
            PlanError: an option, the model or the data differ from those of the run that made it.
            CorruptCheckpoint: its state is damaged, or of other checkpoints.
        """
        states = _states(self.folder)
        if not states:
            return None
        state = SaveState.read(states[-1])
        prefix = self.folder / f"{states[-1].name.removesuffix(STATE)}.ckpt"
        asked = as_asked_now(state.asked)
        self.last = self._source = prefix
        self._last_step = state.position.step
        differ = [key for key in {**asked, **self._asked} if asked.get(key) != self._asked.get(key)]
        if differ:
            was = ", ".join(f"{key} was {asked.get(key)}, now {self._asked.get(key)}" for key in differ)
            raise PlanError(f"`resume`: {self.last} is of a run with other options: {was}")
        state.require_checkpoints(states[-1])
        return Saved(state.position, checkpoint.open(prefix), self._read_kept(state.kept))

    def _state_path(self, prefix: Path) -> Path:
        return prefix.with_name(f"{prefix.stem}{STATE}")

    def _write_kept(self, kept: KeptWeights | None) -> dict[str, Any] | None:
        if kept is None:
            return None
        prefix = self.folder / f"best-{kept.epoch.epoch:04d}.ckpt"
        if not Path(f"{prefix}.meta").exists():
            write_model(kept.graph, kept.tensors, prefix, overwrite=True)
        return asdict(KeptState(prefix.name, kept.epoch, list(kept.frozen), hash_of_prefix(prefix)))

    def _read_kept(self, state: KeptState | None) -> KeptWeights | None:
        if state is None:
            return None
        prefix = self.folder / state.prefix
        require_tied(prefix)
        graph, opened = files.load(f"{prefix}.meta"), checkpoint.open(prefix)
        tensors = {name: opened[name] for name in stored_tensors(graph)}  # as in a run without an interruption
        return KeptWeights(state.epoch, graph, tensors, tuple(state.frozen))

    def _forget(self) -> None:
        """Delete all saves but the latest ones, and the best weights to which none of these refers.

        The save from which a run was resumed is kept while the run may read it.
        """
        states = _states(self.folder)
        old = [path for path in states[: -self._keep] if not self._source or path != self._state_path(self._source)]
        for state in old:
            state.unlink()
        left = [state for state in states if state not in old]
        wanted = {f"{state.name.removesuffix(STATE)}.ckpt" for state in left}
        wanted |= {kept.prefix for state in left if (kept := SaveState.read(state).kept)}
        # Also what a killed run was deleting; a graph goes first, since with it best weights count as written.
        for path in sorted(self.folder.glob("*.ckpt.*"), key=lambda path: path.suffix != ".meta"):
            if _prefix_of(path) not in wanted and _is_own(path):
                path.unlink()


def _prefix_of(path: Path) -> str:
    return f"{path.name.partition('.ckpt.')[0]}.ckpt"


def _is_own(path: Path) -> bool:
    """Return whether a file of a checkpoint has the name of a save, or of the best weights."""
    return (_STEP.fullmatch(_prefix_of(path)) or BEST.fullmatch(_prefix_of(path))) is not None
