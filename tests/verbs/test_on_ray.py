"""`cache` and `predict` on a Ray cluster of two nodes with one core each, one of which disappears midway."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.executors.registry import open_executor
from ckpttool.model.model import Model
from ckpttool.runtime import streaming
from ckpttool.training import filling
from ckpttool.training.callbacks.callback import Callback
from ckpttool.verbs.cache import cache
from ckpttool.verbs.predict import predict

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
SOON = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 3}


@pytest.fixture
def lose_a_node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    cluster_utils = pytest.importorskip("ray.cluster_utils")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    head = {"num_cpus": 1, "include_dashboard": False, "_system_config": SOON}
    cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    node = cluster.add_node(num_cpus=1)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    yield lambda: cluster.remove_node(node, allow_graceful=False)
    cluster.shutdown()


class Loses(Callback):
    """Removes a node when a third of the rows are there."""

    def __init__(self, lose: Callable[[], None]) -> None:
        self.lose, self.lost = lose, False

    def on_cache_progress(self, done: int, rows: int) -> None:
        if done >= rows / 3 and not self.lost:
            self.lost = True
            self.lose()


def test_what_a_node_did_not_finish_the_other_does(
    model: Model, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lose_a_node: Any
) -> None:
    monkeypatch.setattr(filling, "BATCH_BYTES", 160)
    monkeypatch.setattr(streaming, "PART_BYTES", 16 * 32)
    alone, loses = cache(model, data, "hidden1", root=tmp_path / "alone"), Loses(lose_a_node)
    predict(model, data, tmp_path / "alone.npz", split="train")
    with open_executor("ray") as executor:
        assert executor.notes == ("2 workers (Ray, 2 nodes with 2 cores)",)
        predict(model, data, tmp_path / "before.npz", split="train", executor=executor)
        found = cache(model, data, "hidden1", root=tmp_path / "ray", executor=executor, callbacks=loses)
        predict(model, data, tmp_path / "after.npz", split="train", executor=executor)
    assert loses.lost
    for name, array in alone.arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
    for name in ("before", "after"):
        assert (tmp_path / f"{name}.npz").read_bytes() == (tmp_path / "alone.npz").read_bytes()
