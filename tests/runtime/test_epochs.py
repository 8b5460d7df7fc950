"""The training loop compared with a plain TensorFlow loop, with rows in memory and in chunks; scores with NumPy's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import GraphError
from ckpttool.data.batches import batch_bounds, epoch_order, even_run
from ckpttool.graph import files
from ckpttool.model.model import Model
from ckpttool.runtime import epochs, streaming
from ckpttool.runtime.epochs import EpochRunner
from ckpttool.runtime.function import GraphFunction
from ckpttool.runtime.state import State
from ckpttool.runtime.streaming import Evaluator

FED = ["X:0", "y:0"]


@pytest.fixture
def model(new_network: Any, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A network with momentum, whose steps depend on previous ones; with a parameter its labels are asserted."""
    with new_network().building() as net:
        X, y, _ = net.inputs()
        if getattr(request, "param", False):
            with net.tf.control_dependencies([net.v1.debugging.assert_less_equal(y, net.tf.constant(2, y.dtype))]):
                y = net.tf.identity(y)
        logits = net.dense(net.dense(X, 5, "hidden"), 3, "outputs", relu=False)
        net.classify(logits, y, net.v1.train.MomentumOptimizer(0.1, 0.9))
    return Path(net.save(tmp_path / "model.ckpt"))


def arrays(rows: int) -> dict[str, Any]:
    random = np.random.default_rng(2)
    return {"X:0": random.normal(size=(rows, 4)).astype(np.float32), "y:0": random.integers(0, 3, rows)}


@pytest.fixture
def trainer(model: Path) -> tuple[EpochRunner, State]:
    function = GraphFunction(files.load(model), ["loss/loss:0", "train"], FED)
    state = State(function.variables, Model.open(model).checkpoint)
    return EpochRunner(function, state, {}), state


def take(
    loop: EpochRunner, rows: dict[str, Any], order: Any, bounds: Any, count: int = 100, total: float = 0.0
) -> float:
    """Run an epoch's steps, at most `count` per call; return the sum of their losses."""
    first = 0
    while first < len(bounds) - 1:
        last, size = even_run(bounds, first, count)
        taken = loop.steps(rows, order[bounds[first] : bounds[last]], size, first, total)
        assert (taken.count, taken.failed) == (last - first, False)
        assert taken.seconds > 0
        first, total = last, taken.total
    return total


@pytest.mark.parametrize("model", [False, True], indirect=True, ids=["", "asserted"])
@pytest.mark.parametrize("in_memory", [1 << 30, 400, 1], ids=["resident", "chunks", "a batch at a time"])
def test_two_epochs_are_those_of_a_plain_loop(
    trainer: tuple[EpochRunner, State], model: Path, new_session: Any, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr(epochs, "IN_MEMORY", in_memory)
    rows, (loop, state) = arrays(53), trainer
    session, bounds = new_session(model, model), batch_bounds(53, 10)
    for epoch in (1, 2):
        order = epoch_order(53, 4, epoch)
        losses = []
        for part in np.split(order, bounds[1:-1]):
            feed = {name: array[part] for name, array in rows.items()}
            losses.append(session.run("loss/loss:0", feed))
            session.run("train", feed)
        assert take(loop, rows, order, bounds) == pytest.approx(float(np.sum(losses)), abs=1e-5)
    expected, found = session.weights(), state.read()
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-5)


def test_how_steps_are_split_into_calls_changes_no_bit(trainer: tuple[EpochRunner, State]) -> None:
    rows, (loop, state) = arrays(53), trainer
    before, order, bounds = state.read(), epoch_order(53, 4, 1), batch_bounds(53, 5)
    whole = take(loop, rows, order, bounds), state.read()
    state.write(before)
    split = take(loop, rows, order, bounds, count=3), state.read()
    assert whole[0] == split[0]
    for name, value in whole[1].items():
        np.testing.assert_array_equal(value, split[1][name])


def test_no_step_is_taken_after_a_loss_that_is_no_number(trainer: tuple[EpochRunner, State]) -> None:
    rows, loop = arrays(40), trainer[0]
    rows["X:0"][25, 0] = np.inf  # on some processors the ReLU of NaN is 0
    taken = loop.steps(rows, np.arange(40), 10, first=0)
    assert (taken.count, taken.failed) == (3, True)


@pytest.mark.parametrize(
    ("in_memory", "expected"), [(53 * 24, [53, 53]), (53 * 24 - 1, [44, 9]), (23 * 24, [22, 22, 9])]
)
def test_chunks_hold_no_more_than_the_limit_and_whole_batches(
    trainer: tuple[EpochRunner, State], monkeypatch: pytest.MonkeyPatch, in_memory: int, expected: list[int]
) -> None:
    """A row has 24 bytes; four batches of 11 rows are one run of even ones, the last of 9 is another."""
    monkeypatch.setattr(epochs, "IN_MEMORY", in_memory)
    loop, seen = trainer[0], []
    monkeypatch.setattr(loop, "_run", lambda chunk, *_: seen.append(len(chunk["X:0"])) or (0, 0.0))
    for first, last, size in ((0, 44, 11), (44, 53, 9)):
        loop.steps(arrays(53), np.arange(53)[first:last], size, 0)
    assert seen == expected


def test_one_row_and_one_batch(trainer: tuple[EpochRunner, State]) -> None:
    assert np.isfinite(trainer[0].steps(arrays(1), np.array([0]), 1, 0).total)


@pytest.mark.parametrize("evaluated", [64 << 20, 50], ids=["at once", "in parts"])
def test_scores_are_means_over_the_rows_however_they_are_parted(
    model: Path, new_session: Any, monkeypatch: pytest.MonkeyPatch, evaluated: int
) -> None:
    monkeypatch.setattr(streaming, "PART_BYTES", evaluated)
    monkeypatch.setattr(streaming, "LEAST_ROWS", 1)
    function = GraphFunction(files.load(model), ["loss/loss:0", "eval/accuracy:0"], FED)
    evaluator = Evaluator(function, State(function.variables, Model.open(model).checkpoint), {})
    rows = arrays(31)
    score = evaluator.score(rows, 31)
    loss, accuracy = new_session(model, model).run(["loss/loss:0", "eval/accuracy:0"], rows)
    assert (score.rows, score.loss, score.accuracy) == (31, pytest.approx(loss, rel=1e-5), pytest.approx(accuracy))


def test_a_graph_without_an_accuracy_has_none(model: Path) -> None:
    function = GraphFunction(files.load(model), ["loss/loss:0"], FED)
    evaluator = Evaluator(function, State(function.variables, Model.open(model).checkpoint), {})
    assert evaluator.score(arrays(3), 3).accuracy is None


def test_a_loss_per_row_is_refused(model: Path) -> None:
    each = "loss/SparseSoftmaxCrossEntropyWithLogits/SparseSoftmaxCrossEntropyWithLogits:0"
    function = GraphFunction(files.load(model), [each, "train"], FED)
    state = State(function.variables, Model.open(model).checkpoint)
    with pytest.raises(GraphError, match=r"SparseSoftmaxCrossEntropyWithLogits:0 is \[.*\], expected one number"):
        EpochRunner(function, state, {}).steps(arrays(6), np.arange(6), 3, 0)
    with pytest.raises(GraphError, match=r"is \[6\], expected one number: a mean over rows"):
        Evaluator(GraphFunction(files.load(model), [each], FED), state, {}).score(arrays(6), 6)


def test_what_is_not_fed_is_named_in_one_line(model: Path) -> None:
    with pytest.raises(GraphError) as caught:
        GraphFunction(files.load(model), ["loss/loss:0"], ["X:0"])
    assert str(caught.value).startswith(f"{model}.meta: nothing feeds y: no role of `inputs`")
    assert "\n" not in str(caught.value)
