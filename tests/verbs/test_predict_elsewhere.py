"""`predict` through executors: the same file, whoever computes; workers check the files that they open."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, DataError, GraphError, PlanError
from ckpttool.executors.here import Here
from ckpttool.executors.processes import processes
from ckpttool.model.model import Model
from ckpttool.runtime import streaming
from ckpttool.verbs.predict import predict


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Rows without labels, for eight calls."""
    monkeypatch.setattr(streaming, "PART_BYTES", 16 * 32)
    np.savez(tmp_path / "rows.npz", X=np.random.default_rng(4).normal(size=(250, 4)).astype(np.float32))
    return tmp_path / "rows.npz"


@pytest.mark.parametrize("suffix", [".npz", ".csv"])
def test_the_file_is_the_same_through_an_executor(model: Model, rows: Path, tmp_path: Path, suffix: str) -> None:
    alone = predict(model, rows, tmp_path / f"alone{suffix}")
    with Here() as executor:
        found = predict(model, rows, tmp_path / f"through{suffix}", executor=executor)
    assert replace(found, output=alone.output) == alone
    assert (tmp_path / f"alone{suffix}").read_bytes() == (tmp_path / f"through{suffix}").read_bytes()


def test_it_is_the_same_of_a_process_with_all_that_can_be_asked(model: Model, rows: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {
        "classes": ["cat", "dog", "owl"],
        "roles": {"inputs": ["X"]},
        "tensor": "dnn/outputs/BiasAdd",
    }
    predict(model, rows, tmp_path / "alone.npz", preprocess="scale(2)", **asked)
    with processes(1) as executor:
        predict(model, rows, tmp_path / "through.npz", preprocess="scale(2)", **asked, executor=executor)
        assert (tmp_path / "alone.npz").read_bytes() == (tmp_path / "through.npz").read_bytes()
        with pytest.raises(DataError, match="has 3 outputs, and there are 4 classes"):  # raised in a worker
            predict(model, rows, tmp_path / "bad.csv", executor=executor, classes=list("abcd"))
        (tmp_path / "rows.npz").rename(tmp_path / "moved.npz")
        with pytest.raises(CkptError, match=r"rows\.npz"):
            predict(model, rows, tmp_path / "gone.csv", executor=executor)
    assert not (tmp_path / "bad.csv").exists()


def test_a_model_that_is_no_file_is_not_sent(model: Model, rows: Path, tmp_path: Path) -> None:
    made = replace(model, opening=None)
    with (
        Here() as executor,
        pytest.raises(PlanError, match="was made in this process, and other"),
    ):
        predict(made, rows, tmp_path / "out.csv", executor=executor)


def test_a_model_that_was_changed_since_is_not_taken_for_the_file(model: Model, rows: Path, tmp_path: Path) -> None:
    changed = {name: tensor.read() * 2 for name, tensor in model.checkpoint.items()}
    other = replace(model, checkpoint=Checkpoint.of(changed))
    with Here() as executor, pytest.raises(GraphError, match="a worker has other weights than the process that asks"):
        predict(other, rows, tmp_path / "out.csv", executor=executor)
    assert not (tmp_path / "out.csv").exists()


def test_rows_that_workers_see_otherwise_are_refused(
    model: Model, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Elsewhere(Here):
        """Its workers find another file at the same path."""

        def submit(self, *given: Any, **named: Any) -> Any:
            np.savez(rows, X=np.zeros((7, 4), np.float32))
            return super().submit(*given, **named)

    with Elsewhere() as executor, pytest.raises(GraphError, match="a worker has other rows than the process that asks"):
        predict(model, rows, tmp_path / "out.csv", executor=executor)
