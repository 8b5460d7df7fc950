"""The state of a save: the position of the run, its options, and which weights are the best; read only if undamaged."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.core.json_records import made_of
from ckpttool.formats.wire import checked_json
from ckpttool.training.run import Epoch, Position
from ckpttool.training.run_report import require_options, rule_before

BEST = re.compile(r"best-\d{4,}\.ckpt")
"""Prefixes of checkpoints of best weights."""


@dataclass(frozen=True)
class KeptState:
    """The kept weights in a state: the prefix in the folder of the saves, the epoch, the frozen weights."""

    prefix: str
    epoch: Epoch
    frozen: list[str]


@dataclass(frozen=True)
class SaveState:
    """The content of a state: the position, the kept weights, and the initial options of the run."""

    position: Position
    kept: KeptState | None
    asked: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> "SaveState":
        """Read the state of a save.

        Raises:
            CorruptCheckpoint: it is damaged, or a field is missing or has a value that no run has.
        """
        try:
            return cls._of(checked_json.loads(path.read_bytes(), is_required=False))
        except ValueError as error:
            raise CorruptCheckpoint(f"{path} is damaged: {error}; delete it to resume from an older save") from error

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


def is_before_draws(asked: Mapping[str, Any]) -> bool:
    """Return whether a run was started by a version that did not draw validation rows at random."""
    return "group" not in asked


def as_asked_now(asked: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of an old run in today's form."""
    return {**asked, "valid": rule_before(asked.get("valid")), "group": None} if is_before_draws(asked) else asked
