"""Reports of runs that are parts of longer ones, from which these resume."""

from pathlib import Path
from typing import Any

import pytest

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.formats.wire import checked_json
from ckpttool.training.run_report import read_part, report_path

EPOCH = {"epoch": 1, "loss": 0.5, "valid_loss": 0.25, "valid_accuracy": None, "seconds": 1.0}
REPORT = {
    "history": [EPOCH],
    "kept_epoch": 1,
    "best_epoch": 1,
    "plan": [],
    "unchanged": ["hidden1/kernel"],
    "data": {"path": "rows.npz", "classes": ["cat", "dog"]},
    "options": {"batch_size": 20, "lr": "hidden=0.1", "valid": "10%"},
}


def test_the_report_of_a_part(tmp_path: Path) -> None:
    place = tmp_path / "1.ckpt"
    report_path(place).write_bytes(checked_json.dumps({**REPORT, "versions": {}}))
    assert read_part(place) == {**REPORT, "versions": {}}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"history": [{**EPOCH, "loss": "x"}]}, "loss is 'x'"),
        ({"history": None}, "history is None"),
        ({"history": []}, "kept_epoch is 1 of 0"),
        ({"kept_epoch": 0}, "kept_epoch is 0 of 1"),
        ({"kept_epoch": True}, "kept_epoch is True"),
        ({"data": {"classes": 3}}, "classes is 3"),
        ({"data": {"classes": [{}]}}, "classes is {}"),
        ({"options": {"lr": []}}, r"lr is \[\]"),
    ],
)
def test_a_report_with_a_value_that_no_run_has(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    place = tmp_path / "1.ckpt"
    report_path(place).write_bytes(checked_json.dumps({**REPORT, **change}))
    with pytest.raises(CorruptCheckpoint, match=f"1.ckpt.run.json is damaged: {says}; `overwrite` begins again"):
        read_part(place)


@pytest.mark.parametrize("text", [b"{", b"[]", b"{}", b"\xff"])
def test_a_report_that_is_none(tmp_path: Path, text: bytes) -> None:
    place = tmp_path / "1.ckpt"
    report_path(place).write_bytes(text)
    with pytest.raises(CorruptCheckpoint, match="is damaged"):
        read_part(place)
