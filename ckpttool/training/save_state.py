"""The state of a save: the position of the run, its options, and which weights are the best; read only if undamaged."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.json_records import made_of
from ckpttool.formats.tensorflow.tied_graph import hash_of
from ckpttool.formats.wire import checked_json
from ckpttool.training.run import Epoch, Position
from ckpttool.training.run_report import require_options, rule_before

BEST = re.compile(r"best-\d{4,}\.ckpt")
"""Prefixes of checkpoints of best weights."""
STATE = ".state.json"
"""The suffix of states, in the place of their checkpoints' suffix."""


@dataclass(frozen=True)
class KeptState:
    """The kept weights in a state: the prefix in the folder of the saves, the epoch, the frozen weights, the hash."""

    prefix: str
    epoch: Epoch
    frozen: list[str]
    sha256: str | None = None


@dataclass(frozen=True)
class SaveState:
    """The content of a state: the position, the kept weights, the initial options of the run, and the hash of its save.

    The hashes of checkpoints are those of their indexes, which have checksums of everything else; older versions wrote
    none.
    """

    position: Position
    kept: KeptState | None
    asked: Mapping[str, Any]
    sha256: str | None = None

    @classmethod
    def read(cls, path: Path) -> "SaveState":
        """Read the state of a save.

        Raises:
            CorruptCheckpoint: it is damaged, or a field is missing or has a value that no run has.
        """
        try:
            state = cls._of(checked_json.loads(path.read_bytes(), is_required=False))
            if path.name != f"{name_of_step(state.position.step)}{STATE}":
                raise ValueError(f"its position is step {state.position.step}")
            return state
        except ValueError as error:
            raise CorruptCheckpoint(f"{path} is damaged: {error}; delete it to resume from an older save") from error

    def require_checkpoints(self, path: Path) -> None:
        """Check that the checkpoints beside a state, at its path, are those that it was written with.

        Raises:
            CorruptCheckpoint: one is missing, or another.
        """
        expected = {f"{path.name.removesuffix(STATE)}.ckpt": self.sha256}
        expected |= {self.kept.prefix: self.kept.sha256} if self.kept else {}
        for prefix, sha256 in expected.items():
            if sha256 is not None and hash_of_prefix(path.with_name(prefix)) != sha256:
                raise CorruptCheckpoint(
                    f"{path.with_name(prefix)} is not the checkpoint that {path} was written with; delete {path.name} "
                    "to resume from an older save"
                )

    @classmethod
    def _of(cls, facts: Mapping[str, Any]) -> "SaveState":
        state = made_of(cls, facts)
        require_options(state.asked)
        Position.from_json(facts["position"])
        if (state.kept is None) == bool(state.position.history):
            raise ValueError("its kept weights are not of its history")
        if state.kept is not None and not BEST.fullmatch(state.kept.prefix):
            raise ValueError(f"its kept weights are said to be in {state.kept.prefix}")
        return state


def name_of_step(step: int) -> str:
    """Return the name of the save of a step, without suffixes."""
    return f"step-{step:08d}"


def hash_of_prefix(prefix: Path) -> str:
    """Return the hash that identifies a checkpoint, that of its index; empty if there is none."""
    index = Path(f"{prefix}.index")
    return hash_of(index).hex() if index.is_file() else ""


def is_before_draws(asked: Mapping[str, Any]) -> bool:
    """Return whether a run was started by a version that did not draw validation rows at random."""
    return "group" not in asked


def as_asked_now(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of an old run in today's form."""
    return {**asked, "valid": rule_before(asked.get("valid")), "group": None} if is_before_draws(asked) else asked
