"""States of saves: what was written is read, and a damaged state, or one of no run, is refused."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.formats.wire import checked_json
from ckpttool.training.run import Epoch, Position
from ckpttool.training.save_state import KeptState, SaveState, as_asked_now

BEST = Epoch(1, 0.5, 0.25, None, 1.0)
STATE = SaveState(
    Position(2, 2, 2, 1.5, 0.5, [BEST]), KeptState("best-0001.ckpt", BEST, ["hidden/kernel"]), {"lr": 0.1}
)


def state(folder: Path, change: Callable[[dict[str, Any]], Any]) -> Path:
    """Write a state with a change and the right checksum."""
    facts = asdict(STATE)
    change(facts)
    path = folder / "step-00000002.state.json"
    path.write_bytes(checked_json.dumps(facts))
    return path


def test_what_was_written_is_read(tmp_path: Path) -> None:
    assert SaveState.read(state(tmp_path, lambda facts: None)) == STATE


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda facts: facts.pop("kept"), "it lacks 'kept'; delete it to resume from an older save"),
        (lambda facts: facts.update(more=1), "it has 'more'; delete it"),
        (lambda facts: facts["position"].update(more=1), "it has 'more'"),
        (lambda facts: facts["position"].pop("history"), "does not follow the 0 of its history"),
        (lambda facts: facts.update(kept={}), "it lacks 'prefix'"),
        (lambda facts: facts.update(asked=None), "asked is None"),
    ],
)
def test_a_state_that_lacks_something(tmp_path: Path, change: Any, says: str) -> None:
    with pytest.raises(CorruptCheckpoint, match=says):
        SaveState.read(state(tmp_path, change))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda facts: facts["position"].update(step=-1), "step is -1"),
        (lambda facts: facts["position"].update(step=[1]), r"step is \[1\]"),
        (lambda facts: facts["position"].update(batch=True), "batch is True"),
        (lambda facts: facts["position"].update(epoch=1 << 60), f"epoch is {1 << 60}"),
        (lambda facts: facts["position"].update(epoch=7), "epoch 7 does not follow the 1 of its history"),
        (lambda facts: facts["position"].update(total="\ud800"), "total is"),
        (lambda facts: facts["position"]["history"][0].update(loss={}), "loss is {}"),
        (lambda facts: facts["position"].update(history=[3]), "it has 3, expected an object"),
        (lambda facts: facts.update(kept=None), "its kept weights are not of its history"),
        (lambda facts: facts["kept"].update(prefix="../best-0001.ckpt"), "its kept weights are said to be in ../best"),
        (lambda facts: facts["kept"].update(frozen=[{}]), "frozen is {}"),
        (lambda facts: facts["asked"].update(batch_size=[]), r"batch_size is \[\]"),
    ],
)
def test_a_state_with_a_value_that_no_run_has(tmp_path: Path, change: Any, says: str) -> None:
    with pytest.raises(CorruptCheckpoint, match=f"step-00000002.state.json is damaged: {says}"):
        SaveState.read(state(tmp_path, change))


@pytest.mark.parametrize("text", [b"{", b"[]", b"\xff"])
def test_a_state_that_is_none(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "step-00000002.state.json").write_bytes(text)
    with pytest.raises(CorruptCheckpoint, match=r"step-00000002\.state\.json is damaged: .*; delete it to resume"):
        SaveState.read(tmp_path / "step-00000002.state.json")


def test_options_of_runs_before_rows_were_drawn() -> None:
    assert as_asked_now({"lr": 0.1, "valid": None}) == {"lr": 0.1, "valid": "last:10%", "group": None}
    assert as_asked_now({"valid": 5000}) == {"valid": "first:5000", "group": None}
    assert as_asked_now({"valid": "10%", "group": None}) == {"valid": "10%", "group": None}
