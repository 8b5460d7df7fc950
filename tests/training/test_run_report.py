"""Reports of runs: of parts of longer ones, from which these resume, and of those that others are compared with."""

from pathlib import Path
from typing import Any

import pytest

from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.data.held_out import HeldOut
from ckpttool.formats.wire import checked_json
from ckpttool.training.run_report import RunReport, read_part, report_path

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


RUN: dict[str, Any] = {
    "model": "net.ckpt",
    "data": {"path": "rows.npz", "fingerprint": {"train": "ab"}, "held_out": None, "preprocess": "x/255"},
    "options": {"lr": 0.1, "valid": None},
    "history": [EPOCH],
    "plan": [{"target": "w", "train": True}, {"target": "b", "train": False}],
}
RULE = {"rule": "first:5", "group": None, "seed": 1}


def parsed(facts: Any) -> RunReport:
    return RunReport.parse(facts if isinstance(facts, bytes) else checked_json.dumps(facts), Path("x.run.json"))


def test_what_a_report_says() -> None:
    report = parsed(RUN)
    assert (report.model, report.data, report.preprocess) == ("net.ckpt", "rows.npz", "x/255")
    assert report.fingerprint == {"train": "ab"}
    assert (report.options, report.held_out) == ({"lr": 0.1}, None)
    assert (len(report.history), report.trained) == (1, {"w": True, "b": False})
    assert parsed({**RUN, "data": {**RUN["data"], "held_out": RULE}}).held_out == HeldOut.parse("first:5", None, 1)


def test_a_report_of_old_versions_has_the_rule_that_they_had() -> None:
    data = {"path": "rows.npz", "fingerprint": {}, "preprocessing": ["validation: the last tenth of the rows"]}
    report = parsed({**RUN, "data": data})
    assert (report.options, report.held_out) == ({"lr": 0.1, "valid": "last:10%"}, HeldOut.parse("last:10%"))


@pytest.mark.parametrize(
    ("facts", "error", "says"),
    [
        (b"{", FormatError, r"x\.run\.json: not a run report \(not JSON\): "),
        ({"model": "x"}, FormatError, r"x\.run\.json: not a run report, which has model, data and options: 'data'"),
        ({**RUN, "data": []}, FormatError, r"x\.run\.json: not a run report, which has model, data and options"),
        (
            {**RUN, "data": {**RUN["data"], "held_out": {"rule": "x"}}},
            FormatError,
            r"x\.run\.json: no run report: not a valid rule for held-out rows",
        ),
        (
            checked_json.dumps(RUN).replace(b"net.ckpt", b"bad.ckpt"),
            CorruptCheckpoint,
            r"x\.run\.json: it has changed since it was written: .*; where that was meant, delete the line that has it",
        ),
    ],
)
def test_what_is_no_report_is_told_apart_from_a_changed_one(facts: Any, error: type[FormatError], says: str) -> None:
    with pytest.raises(error, match=f"^{says}") as refused:
        parsed(facts)
    assert type(refused.value) is error
