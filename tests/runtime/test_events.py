"""Event files, read by TensorBoard's own reader."""

from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ckpttool.graph.core import Graph
from ckpttool.runtime.events import EventWriter, event_files, histogram, read_events


def reader(folder: Path) -> Any:
    return EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0}).Reload()


def test_scalars_histograms_and_a_graph_are_read_back(new_network: Any, tmp_path: Path) -> None:
    network = new_network()
    with network.building():
        network.dense(network.inputs()[0], 3, "outputs")
    graph: Graph = network.export()
    writer = EventWriter(tmp_path / "new" / "folder")
    writer.graph(graph)
    kernel = np.array([[-1, 0.5], [0.5, 2]], np.float32)
    writer.summary(7, {"loss": 0.25, "accuracy": 0.5}, {"outputs/kernel": kernel})
    writer.summary(9, {"loss": 0.125}, {})
    writer.close()
    found = reader(tmp_path / "new" / "folder")
    assert [(event.step, event.value) for event in found.Scalars("loss")] == [(7, 0.25), (9, 0.125)]
    assert [(event.step, event.value) for event in found.Scalars("accuracy")] == [(7, 0.5)]
    (drawn,) = found.Histograms("outputs/kernel")
    value = drawn.histogram_value
    assert (drawn.step, value.min, value.max, value.num, value.sum, value.sum_squares) == (7, -1, 2, 4, 2, 5.5)
    filled = [(limit, count) for limit, count in zip(value.bucket_limit, value.bucket, strict=True) if count]
    assert [count for _, count in filled] == [1, 2, 1]
    assert (len(value.bucket), filled[-1][0]) == (30, 2)
    assert found.Graph() == type(found.Graph()).FromString(graph.meta.graph_def.SerializeToString())


@pytest.mark.parametrize(
    ("numbers", "least", "most", "count"),
    [
        (np.full(5, 1e30, np.float32), np.float32(1e30), np.float32(1e30), 5),
        (np.array([1.0, np.nextafter(1.0, 2)]), 1.0, np.nextafter(1.0, 2), 2),
        (np.array([np.nan, 1, np.inf, 3, -np.inf], np.float32), 1, 3, 2),
        (np.array(2.5, np.float64), 2.5, 2.5, 1),
        (np.array([1, 2, 3], ml_dtypes.bfloat16), 1, 3, 3),
        (np.arange(7), 0, 6, 7),
        (np.zeros((3, 0, 2), np.float32), None, None, 0),
        (np.full(3, np.nan), None, None, 0),
    ],
    ids=["equal", "neighbours", "not finite", "scalar", "bfloat16", "integers", "empty", "no number"],
)
def test_any_array_has_a_histogram_or_none(
    tmp_path: Path, numbers: Any, least: float | None, most: float | None, count: int
) -> None:
    writer = EventWriter(tmp_path)
    writer.summary(1, {}, {"weights": numbers})
    writer.close()
    found = [event.histogram_value for event in reader(tmp_path).Histograms("weights")] if count else []
    assert [(each.min, each.max, sum(each.bucket)) for each in found] == ([(least, most, count)] if count else [])
    assert (histogram(numbers) is None) == (count == 0)


def test_a_file_that_was_cut_short_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    for step in (1, 2):
        writer = EventWriter(tmp_path)
        writer.summary(step, {"loss": 1.0}, {})
        writer.summary(step + 10, {"loss": 1.0}, {})
        writer.close()
    first, second = event_files(tmp_path)
    first.write_bytes(first.read_bytes()[:-3])
    assert [event.step for event in read_events(tmp_path) if event.step] == [1, 2, 12]
    assert [event.step for event in reader(tmp_path).Scalars("loss")] == [1, 2, 12]
    second.write_bytes(b"")
    assert [event.step for event in read_events(tmp_path) if event.step] == [1]
