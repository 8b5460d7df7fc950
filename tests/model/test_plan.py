"""The plan: a row per weight, slices of a partitioned variable joined, and the restored fraction."""

from pathlib import Path
from typing import Any

import pytest

from ckpttool.core.errors import PlanError
from ckpttool.graph import files
from ckpttool.model.model import Model
from ckpttool.model.plan import PlanRow, plan_rows, require_coverage


def test_a_row_per_weight_says_where_from_and_whether_trained(model: Model) -> None:
    sources = {"hidden1/kernel": "old1/kernel", "hidden1/bias": "old1/bias"}
    rows = plan_rows(model.graph, sources, ["hidden1/kernel"])
    assert rows[:3] == [
        PlanRow("hidden1", "hidden1/kernel", (4, 8), "old1/kernel", False),
        PlanRow("hidden1", "hidden1/bias", (8,), "old1/bias", True),
        PlanRow("hidden2", "hidden2/kernel", (8, 6), None, True),
    ]
    assert rows[2].as_json() == {
        "layer": "hidden2",
        "target": "hidden2/kernel",
        "shape": [8, 6],
        "source": None,
        "train": True,
    }


def test_slots_and_steps_have_no_row_and_slices_have_one(new_network: Any, tmp_path: Path) -> None:
    net = new_network()
    with net.building():
        X, y, _ = net.inputs()
        with net.v1.variable_scope("outputs", partitioner=net.v1.fixed_size_partitioner(2)):
            kernel = net.v1.get_variable("kernel", [4, 3])
        logits = net.tf.matmul(X, net.tf.convert_to_tensor(kernel))
        net.v1.train.get_or_create_global_step()
        net.classify(logits, y, net.v1.train.AdamOptimizer(0.1))
    graph = files.load(net.save(tmp_path / "parts.ckpt"))
    assert plan_rows(graph, {}) == [PlanRow("outputs", "outputs/kernel", (4, 3), None, True)]


def test_the_share_is_counted_in_parameters() -> None:
    rows = [PlanRow("a", "a/kernel", (9, 10), "a/kernel", True), PlanRow("b", "b/kernel", (5, 2), None, True)]
    require_coverage(rows, 90)
    with pytest.raises(
        PlanError, match=r"90.0% of the parameters are restored, 90.5% required; newly initialised: b/kernel"
    ):
        require_coverage(rows, 90.5)
    require_coverage([], 100)


def test_moving_averages_are_not_called_trained() -> None:
    row = PlanRow("bn1", "bn1/moving_mean", (4,), None, True, moves=True)
    assert row.cells()["then"] == "moves along"
    assert PlanRow("bn1", "bn1/moving_mean", (4,), None, False, moves=True).cells()["then"] == "frozen"
    assert row.as_json() == {"layer": "bn1", "target": "bn1/moving_mean", "shape": [4], "source": None, "train": True}
