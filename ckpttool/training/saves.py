"""Saves: what a run writes on its way, so that it can go on after it was stopped.

`OUT.saves/` has `step-00001100.ckpt`, a whole model with its optimizer's state, and `step-00001100.state.json`, which
says where the run was; a save without the latter was cut short and does not count. Where the best epoch's weights are
to be kept they are there too, as `best-0007.ckpt`.
"""

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint, ExistingOutput, PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.formats.tensorflow.tied_graph import require_tied
from ckpttool.formats.wire import checked_json
from ckpttool.formats.writing.files import replacing
from ckpttool.formats.writing.staging import settle
from ckpttool.formats.writing.temporary import sweep
from ckpttool.graph import files
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.lineage.output import staged_output
from ckpttool.model.families import CheckpointWriter
from ckpttool.model.model import write_model
from ckpttool.training.run import Epoch, Position
from ckpttool.training.run_report import rule_before

_STATE = ".state.json"
_EVERY = re.compile(r"(?P<count>\d+) *(?P<unit>steps?|epochs?|min(ute)?s?)")
MINUTE = 60.0


@dataclass(frozen=True)
class Every:
    """How often a run is saved: `count` steps, epochs or minutes."""

    count: int
    unit: str

    @classmethod
    def parse(cls, text: str) -> "Every":
        """Read `500 steps`, `2 epochs` or `10 min`.

        >>> Every.parse("10 min"), Every.parse("1epoch")
        (Every(count=10, unit='minutes'), Every(count=1, unit='epochs'))

        Raises:
            PlanError: it is none of these.
        """
        match = _EVERY.fullmatch(text.strip())
        if match is None or not int(match["count"]):
            raise PlanError(f"`save_every` {text!r}: expected such as '500 steps', '1 epoch' or '10 min'")
        units = {"s": "steps", "e": "epochs", "m": "minutes"}
        return cls(int(match["count"]), units[match["unit"][0]])

    def is_due(self, position: Position, seconds: float) -> bool:
        """Tell whether a save is due at a position, so many seconds after the last one."""
        if self.unit == "minutes":
            return seconds >= self.count * MINUTE
        if self.unit == "epochs":
            return position.batch == 0 and (position.epoch - 1) % self.count == 0
        return position.step % self.count == 0

    def steps_left(self, step: int) -> int | None:
        """Return how many steps may be taken before the next save; None where steps do not decide."""
        return self.count - step % self.count if self.unit == "steps" else None


@dataclass(frozen=True)
class Kept:
    """The weights that will be written at the end: an epoch's, with the graph and the frozen set that it had."""

    epoch: Epoch
    graph: Graph
    tensors: Mapping[str, Tensor]
    frozen: tuple[str, ...]


@dataclass(frozen=True)
class Saved:
    """A save that is whole: where the run was, its tensors, and what was kept."""

    position: Position
    tensors: Mapping[str, Tensor]
    kept: Kept | None


def refuse_saves(output: str | Path) -> None:
    """Refuse to begin a run where the saves of another are.

    Raises:
        ExistingOutput: there are some.
    """
    if _states(_folder(output)):
        raise ExistingOutput(f"{_folder(output)} has saves of a run: resume with `resume`, or `overwrite` them")


def asked_before(output: str | Path) -> Mapping[str, Any] | None:
    """Return what the run of the latest save was asked for, None where nothing was saved yet.

    Raises:
        CorruptCheckpoint: the save is damaged.
    """
    states = _states(_folder(output))
    asked: Mapping[str, Any] | None = _read(states[-1])["asked"] if states else None
    return asked


def is_before_draws(asked: Mapping[str, Any]) -> bool:
    """Say whether a run was asked for when rows were not drawn yet."""
    return "group" not in asked


def as_asked_now(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a run was asked for, as it would be asked for now."""
    return {**asked, "valid": rule_before(asked["valid"]), "group": None} if is_before_draws(asked) else asked


def _read(path: Path) -> Any:
    try:
        state = checked_json.loads(path.read_bytes(), is_required=False)
        if state.keys() != {"position", "kept", "asked"}:
            raise ValueError(f"it has {', '.join(sorted(state))}")
        return state
    except ValueError as error:
        raise CorruptCheckpoint(f"{path} is damaged: {error}; delete it to resume from an older save") from error


@contextmanager
def _damage_told(path: Path) -> Iterator[None]:
    """Say of a state what it lacks, though its checksum is right.

    Raises:
        CorruptCheckpoint: it lacks something.
    """
    try:
        yield
    except (KeyError, TypeError, AttributeError) as error:
        raise CorruptCheckpoint(f"{path} is damaged: {error!r}; delete it to resume from an older save") from error


def _folder(output: str | Path) -> Path:
    return Path(f"{output}.saves")


def _states(folder: Path) -> list[Path]:
    """Return the states of the saves in a folder, the latest last; one whose commit was cut short is made whole."""
    settle(folder)
    return sorted(folder.glob(f"*{_STATE}"))


class Saves:
    """The saves of one run in their folder: when one is due, writing, finding, forgetting the old ones."""

    def __init__(self, output: str | Path, every: Every | None, keep: int, asked: Mapping[str, Any]) -> None:
        """Take where the run's result will be, and `asked`: what must be the same for a run that goes on.

        `last` is the prefix of the latest save that this run has written or gone on from.
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

    def end(self) -> None:
        """Delete what only a run needs that goes on: all saves, or, where some were asked for, what it began with."""
        self._source = None
        if self._every is None:
            self.clear()
        else:
            self._forget()

    def due(self, position: Position) -> bool:
        """Tell whether a save is due at a position; those of epochs are due at their beginning."""
        if self._every is None or position.step == self._last_step:
            return False
        return self._every.is_due(position, time.monotonic() - self._last_time)

    def steps_left(self, step: int) -> int | None:
        """Return how many steps may be taken before the next save; None where steps do not decide."""
        return self._every.steps_left(step) if self._every else None

    def write(self, graph: Graph, tensors: Mapping[str, Tensor], position: Position, kept: Kept | None) -> Path:
        """Write a save, and forget the oldest beyond those that are kept; return its prefix."""
        self.folder.mkdir(parents=True, exist_ok=True)
        prefix = self.folder / f"step-{position.step:08d}.ckpt"
        state = {"position": asdict(position), "kept": self._write_kept(kept), "asked": self._asked}
        with staged_output(prefix, CheckpointWriter(prefix), True, [self._state_path(prefix)]) as place:
            write_model(graph, tensors, place, overwrite=False)
            with replacing(self._state_path(place)) as file:
                file.write(checked_json.dumps(state))
        self.last, self._last_step, self._last_time = prefix, position.step, time.monotonic()
        self._forget()
        return prefix

    def latest(self) -> Saved | None:
        """Return the latest save that is whole; None where nothing was saved yet.

        Raises:
            PlanError: the run that made it was asked for something else: an option, the model or the data differ.
        """
        states = _states(self.folder)
        if not states:
            return None
        state = _read(states[-1])
        prefix = self.folder / f"{states[-1].name.removesuffix(_STATE)}.ckpt"
        with _damage_told(states[-1]):
            position, asked = Position.from_json(state["position"]), as_asked_now(state["asked"])
        self.last = self._source = prefix
        self._last_step = position.step
        differ = [key for key in {**asked, **self._asked} if asked.get(key) != self._asked.get(key)]
        if differ:
            was = ", ".join(f"{key} was {asked.get(key)}, now {self._asked.get(key)}" for key in differ)
            raise PlanError(f"`resume`: {self.last} is of a run with other options: {was}")
        with _damage_told(states[-1]):
            return Saved(position, checkpoint.open(prefix), self._read_kept(state["kept"]))

    def _state_path(self, prefix: Path) -> Path:
        return prefix.with_name(f"{prefix.stem}{_STATE}")

    def _write_kept(self, kept: Kept | None) -> dict[str, Any] | None:
        if kept is None:
            return None
        prefix = self.folder / f"best-{kept.epoch.epoch:04d}.ckpt"
        if not Path(f"{prefix}.meta").exists():
            write_model(kept.graph, kept.tensors, prefix, overwrite=True)
        return {"prefix": prefix.name, "epoch": asdict(kept.epoch), "frozen": list(kept.frozen)}

    def _read_kept(self, state: Mapping[str, Any] | None) -> Kept | None:
        if state is None:
            return None
        prefix = self.folder / Path(state["prefix"]).name
        require_tied(prefix)
        graph, opened = files.load(f"{prefix}.meta"), checkpoint.open(prefix)
        tensors = {name: opened[name] for name in stored_tensors(graph)}  # as a run that was never stopped has them
        return Kept(Epoch(**state["epoch"]), graph, tensors, tuple(state["frozen"]))

    def _forget(self) -> None:
        """Delete the saves beyond the latest ones, and the best weights that none of these refers to.

        What a run went on from stays as long as the run may read it.
        """
        states = _states(self.folder)
        old = [path for path in states[: -self._keep] if not self._source or path != self._state_path(self._source)]
        for state in old:
            state.unlink()
            self._delete(state.name.removesuffix(_STATE))
        named = [kept["prefix"] for state in states if state not in old and (kept := _read(state)["kept"])]
        for meta in self.folder.glob("best-*.ckpt.meta"):
            if meta.name.removesuffix(".meta") not in named:
                self._delete(meta.name.removesuffix(".ckpt.meta"))

    def _delete(self, name: str) -> None:
        for path in self.folder.glob(f"{name}.ckpt.*"):
            path.unlink()
