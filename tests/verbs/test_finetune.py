import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, DataError, ExistingOutput, GraphError, PlanError, UnknownName
from ckpttool.core.tensors import Tensor
from ckpttool.model.model import Model
from ckpttool.model.plan import PlanRow
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.callbacks.recording import Recording
from ckpttool.training.options import Options
from ckpttool.training.run import Epoch
from ckpttool.training.run_report import report_path
from ckpttool.training.saves import KeptWeights
from ckpttool.verbs.evaluate import evaluate
from ckpttool.verbs.finetune import _proved, finetune, plan

OPTIONS = Options(epochs=3, batch_size=20, recipe=Recipe(lr="0.1"), seed=5)


def values(path: Path) -> dict[str, np.ndarray]:
    return {name: tensor.read() for name, tensor in checkpoint.open(path).items()}


def moved(before: Path, after: Path) -> set[str]:
    old, new = values(before), values(after)
    return {name for name in old if not np.array_equal(old[name], new[name])}


def test_training_moves_all_layers_and_learns(model: Model, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned.ckpt"
    run = finetune(model, data, replace(OPTIONS, epochs=12), out)
    assert moved(model.path, out) == set(model.checkpoint)
    assert run.history[-1].loss < run.history[0].loss
    score = evaluate(Model.open(out), data)
    assert score.rows == 60
    assert score.accuracy is not None and score.accuracy > 0.9


def test_frozen_layers_stay_byte_equal_and_the_report_says_so(model: Model, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned.ckpt"
    run = finetune(model, data, replace(OPTIONS, freeze="hidden1"), out)
    trained = {"hidden2/kernel", "hidden2/bias", "outputs/kernel", "outputs/bias"}
    assert moved(model.path, out) == {*trained, "global_step"}
    report = json.loads(Path(f"{out}.run.json").read_text())
    assert report["unchanged"] == ["hidden1/kernel", "hidden1/bias"] == list(run.unchanged)
    assert [row["train"] for row in report["plan"]] == [False, False, True, True, True, True]
    assert [epoch["epoch"] for epoch in report["history"]] == [1, 2, 3]
    assert report["best_epoch"] == run.best.epoch
    assert report["data"]["rows"] == {"train": 270, "valid": 30}
    assert {"ckpttool", "python", "numpy"} <= report["versions"].keys()


def test_train_names_what_is_not_frozen(model: Model) -> None:
    rows = plan(model, replace(OPTIONS, train="outputs"))
    assert {row.layer for row in rows if row.train} == {"outputs"}


def test_training_matches_a_plain_tensorflow_loop(model: Model, data: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    from ckpttool.data.batches import batch_bounds, epoch_order

    out = tmp_path / "tuned.ckpt"
    options = replace(
        OPTIONS, epochs=2, recipe=None, roles={"training_op": "GradientDescent"}, keep="last", valid="first:30"
    )
    finetune(model, data, options, out)
    tf1 = tf.compat.v1
    arrays = np.load(data, allow_pickle=False)
    x, y = arrays["x_train"][30:], arrays["y_train"][30:]
    with tf1.Graph().as_default(), tf1.Session() as session:
        saver = tf1.train.import_meta_graph(f"{model.path}.meta")
        saver.restore(session, str(model.path))
        for epoch in (1, 2):
            for rows in np.split(epoch_order(270, 5, epoch), batch_bounds(270, 20)[1:-1]):
                session.run("GradientDescent", {"X:0": x[rows], "y:0": y[rows]})
        expected = session.run({v.op.name: v for v in tf1.global_variables()})
    found = values(out)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-6)


@pytest.mark.parametrize("optimizer", [Recipe(lr="0.1"), Recipe("momentum", lr="0.05", clip_value=0.5)])
def test_a_cached_run_gives_the_same_losses_and_weights(
    model: Model, data: Path, tmp_path: Path, optimizer: Recipe
) -> None:
    options = replace(OPTIONS, freeze="hidden[12]", recipe=optimizer, cache_dir=tmp_path / "cache")
    live = finetune(model, data, options, tmp_path / "live.ckpt")
    cached = finetune(model, data, replace(options, cache=True), tmp_path / "cached.ckpt")
    assert cached.features is not None and not cached.features.hit
    for one, other in zip(live.history, cached.history, strict=True):
        assert one.loss == pytest.approx(other.loss, abs=1e-5)
        assert one.valid_loss == pytest.approx(other.valid_loss, abs=1e-5)
    mine, its = values(tmp_path / "live.ckpt"), values(tmp_path / "cached.ckpt")
    assert mine.keys() == its.keys()
    for name, value in mine.items():
        np.testing.assert_allclose(its[name], value, atol=1e-5)


def test_momentum_is_saved_under_tensorflows_names_and_goes_on(model: Model, data: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.ckpt", tmp_path / "second.ckpt"
    options = replace(OPTIONS, epochs=1, recipe=Recipe("momentum", lr="0.01"), freeze="hidden1")
    finetune(model, data, options, first)
    slots = {name for name in checkpoint.open(first) if name.endswith("/Momentum")}
    assert slots == {f"{layer}/{part}/Momentum" for layer in ("hidden2", "outputs") for part in ("kernel", "bias")}
    finetune(Model.open(first), data, replace(options, recipe=None, roles={"training_op": "Momentum"}), second)
    assert slots <= moved(first, second)


class Notes(Callback):
    def on_plan(self, plan: Sequence[PlanRow], notes: Sequence[str]) -> None:
        self.notes = list(notes)


def test_names_that_tensorflows_own_patterns_would_take_are_named(model: Model, data: Path, tmp_path: Path) -> None:
    heard = Notes()
    finetune(
        model, data, replace(OPTIONS, epochs=1, freeze="hidden1/ker|hidden2"), tmp_path / "out.ckpt", callbacks=heard
    )
    assert heard.notes == ["TensorFlow's prefix match would also take: hidden1/kernel"]


def test_what_the_trained_graph_has_no_use_for_is_named(model: Model, data: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.ckpt", tmp_path / "second.ckpt"
    options = replace(OPTIONS, epochs=1, train="outputs")
    finetune(model, data, replace(options, recipe=Recipe("momentum", lr="0.01")), first)
    heard = Notes()
    finetune(Model.open(first), data, options, second, callbacks=heard)
    assert heard.notes == [
        "not needed by the trained graph, so not written: outputs/bias/Momentum, outputs/kernel/Momentum"
    ]
    report = json.loads(Path(f"{second}.run.json").read_text())
    slots = {"outputs/kernel/Momentum", "outputs/bias/Momentum"}
    assert set(report["left_behind"]) == slots == set(checkpoint.open(first)) - set(checkpoint.open(second))


def test_what_is_written_trains_on_in_a_plain_tensorflow_program(model: Model, data: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    tf1 = tf.compat.v1
    out = tmp_path / "tuned.ckpt"
    finetune(model, data, replace(OPTIONS, freeze="hidden1", recipe=Recipe("momentum", lr="0.1")), out)
    feeds = {"X:0": np.ones((5, 4), np.float32), "y:0": np.arange(5) % 3}
    with tf1.Graph().as_default() as graph, tf1.Session() as session:
        saver = tf1.train.import_meta_graph(f"{out}.meta")
        saver.restore(session, str(out))
        before = session.run("loss/loss:0", feeds)
        frozen = session.run("hidden1/kernel:0")
        session.run(graph.get_operation_by_name("Momentum"), feeds)
        assert session.run("loss/loss:0", feeds) < before
        np.testing.assert_array_equal(session.run("hidden1/kernel:0"), frozen)
        assert [v.op.name for v in tf1.trainable_variables()] == [
            "hidden2/kernel", "hidden2/bias", "outputs/kernel", "outputs/bias",
        ]  # fmt: skip
        saver.save(session, str(tmp_path / "again.ckpt"))
    assert set(checkpoint.open(tmp_path / "again.ckpt")) == set(checkpoint.open(out))


@pytest.mark.parametrize("functional", [False, True], ids=["Switch", "If"])
def test_moving_averages_of_a_frozen_layer_stay_and_those_of_a_trained_one_move(
    foreign: Callable[..., Path], data: Path, tmp_path: Path, functional: bool
) -> None:
    source, out = foreign("batch_norm", functional), tmp_path / "tuned.ckpt"
    finetune(Model.open(source), data, replace(OPTIONS, freeze="hidden1"), out)
    changed = moved(source, out)
    assert not {name for name in changed if name.startswith("hidden1/")}
    assert {"hidden2/norm/moving_mean", "hidden2/norm/moving_variance", "hidden2/norm/gamma"} <= changed


@pytest.mark.parametrize("functional", [False, True], ids=["Switch", "If"])
def test_a_cached_run_of_a_frozen_batch_norm_layer_equals_the_live_one(
    foreign: Callable[..., Path], data: Path, tmp_path: Path, functional: bool
) -> None:
    model = Model.open(foreign("batch_norm", functional))
    options = replace(OPTIONS, freeze="hidden1", cache_dir=tmp_path / "cache")
    live = finetune(model, data, options, tmp_path / "live.ckpt")
    cached = finetune(model, data, replace(options, cache=True), tmp_path / "cached.ckpt")
    assert [epoch.loss for epoch in cached.history] == pytest.approx([epoch.loss for epoch in live.history], abs=1e-5)


def test_dropout_behind_the_cut_stays_alive_in_training(
    foreign: Callable[..., Path], data: Path, tmp_path: Path
) -> None:
    model = Model.open(foreign("dropout"))
    options = replace(OPTIONS, freeze="hidden1", cache=True, cache_dir=tmp_path / "cache")
    run = finetune(model, data, options, tmp_path / "out.ckpt")
    assert run.features is not None
    assert all("cond" not in name and "dropout" not in name for name in run.features.arrays)


def test_a_part_that_is_random_even_in_inference_mode_is_not_cached(
    foreign: Callable[..., Path], data: Path, tmp_path: Path
) -> None:
    model = Model.open(foreign("always_random"))
    options = replace(OPTIONS, freeze="hidden[12]", cache=True, cache_dir=tmp_path / "cache")
    with pytest.raises(GraphError, match="random even in inference mode"):
        finetune(model, data, options, tmp_path / "out.ckpt")
    assert not list(tmp_path.glob("out*"))


def test_the_last_epoch_is_written_when_asked(model: Model, data: Path, tmp_path: Path) -> None:
    run = finetune(model, data, replace(OPTIONS, keep="last"), tmp_path / "out.ckpt")
    assert run.kept.epoch == 3


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"freeze": "hidn1"}, UnknownName, "pattern 'hidn1' matches nothing; nearest: hidden1"),
        ({"freeze": ".*"}, PlanError, "no layer is left to train"),
        ({"cache": True}, PlanError, "`cache` needs frozen layers"),
        ({"roles": {"loss": "los"}}, UnknownName, "`loss` los"),
        ({"recipe": Recipe(lr="1e38")}, CkptError, "the loss became"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_written(
    model: Model, data: Path, tmp_path: Path, options: dict[str, object], error: type[CkptError], message: str
) -> None:
    with pytest.raises(error, match=message):
        finetune(model, data, replace(OPTIONS, **options), tmp_path / "out.ckpt")
    assert not list(tmp_path.iterdir())


def test_an_existing_output_is_refused(model: Model, data: Path, small: Path) -> None:
    with pytest.raises(ExistingOutput, match="`overwrite`"):
        finetune(model, data, OPTIONS, small)


def test_a_report_of_another_run_is_not_replaced_unasked(model: Model, data: Path, tmp_path: Path) -> None:
    report_path(tmp_path / "out.ckpt").write_text("{}")
    with pytest.raises(ExistingOutput, match=r"out\.ckpt\.run\.json"):
        finetune(model, data, OPTIONS, tmp_path / "out.ckpt")
    assert [path.name for path in tmp_path.iterdir()] == ["out.ckpt.run.json"]


def test_the_model_that_the_result_is_compared_with_is_not_replaced(model: Model, data: Path) -> None:
    before = values(model.path)
    with pytest.raises(PlanError, match="is the model itself, which the result is compared with: write it elsewhere"):
        finetune(model, data, OPTIONS, model.path, overwrite=True)
    assert before.keys() == values(model.path).keys()


def test_frozen_tensors_are_proved_where_both_sides_have_them(model: Model, tmp_path: Path) -> None:
    """Variables without a value in the model or in the run are not compared."""
    tensors = {"a": Tensor.of("a", np.ones(2)), "b": Tensor.of("b", np.ones(2)), "c": Tensor.of("c", np.ones(2))}
    epoch = Epoch(1, 0.5, 0.5, None, 1.0)
    kept = KeptWeights(epoch, model.graph, {name: tensors[name] for name in "ab"}, ("a", "b", "c"))
    before = replace(model, checkpoint=checkpoint.Checkpoint.of({name: tensors[name] for name in "ac"}))
    loop = SimpleNamespace(training=SimpleNamespace(plan=[], cache=None), history=[epoch])
    assert _proved(loop, kept, kept.tensors, before, tmp_path / "out").unchanged == ("a",)  # type: ignore[arg-type]
    changed = {**kept.tensors, "a": Tensor.of("a", np.zeros(2))}
    with pytest.raises(CkptError, match=r"out: frozen tensors have changed: a$"):
        _proved(loop, kept, changed, before, tmp_path / "out")  # type: ignore[arg-type]


def test_labels_beyond_the_outputs_are_refused(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, x_train=np.ones((20, 4), np.float32), y_train=np.full(20, 3))
    with pytest.raises(DataError, match="row 0 is 3, expected 0 to 2: the model has 3 outputs"):
        finetune(model, path, OPTIONS, tmp_path / "out.ckpt")


def test_nan_in_the_data_is_refused(model: Model, tmp_path: Path) -> None:
    rows = np.ones((20, 4), np.float32)
    rows[7, 2] = np.nan
    np.savez(tmp_path / "rows.npz", x_train=rows, y_train=np.zeros(20, int))
    with pytest.raises(DataError, match="x_train row 7"):
        finetune(model, tmp_path / "rows.npz", OPTIONS, tmp_path / "out.ckpt")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"recipe": Recipe(lr="hidden1=0.1, hidn2=0.1")}, "hidn2"),
        ({"recipe": Recipe(l2="hidn2=0.1")}, "hidn2"),
        ({"stages": "outputs=1, .*=1", "dropout": "hidn2=0.5"}, "no trained hidden layer"),
        ({"dropout": "2"}, "'2' is not a valid value"),
        ({"augment": "shft(0.1)"}, "shft"),
        ({"save_every": "3 moons"}, "3 moons"),
        ({"recording": Recording(plot=Path("curves.bmp"))}, "curves.bmp"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else value.strip("'"),
)
def test_a_wrong_option_is_said_before_the_data_is_read(
    model: Model, tmp_path: Path, wrong: dict[str, Any], says: str
) -> None:
    recording = wrong.pop("recording", None)
    with pytest.raises(CkptError, match=says):
        finetune(model, tmp_path / "no-data.npz", replace(OPTIONS, **wrong), tmp_path / "out.ckpt", recording=recording)
    assert list(tmp_path.iterdir()) == []


def test_paths_may_be_strings(model: Model, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    options = replace(OPTIONS, epochs=1, freeze="hidden1", cache=True, cache_dir="cache")
    finetune(model, str(data), options, "out.ckpt", recording=Recording("events", "curves.png"))
    said = json.loads(Path("out.ckpt.run.json").read_text())["options"]
    assert (said["cache_dir"], said["tensorboard"], said["plot"]) == ("cache", "events", "curves.png")
    assert {"cache", "events", "curves.png", "out.ckpt.meta"} <= {path.name for path in tmp_path.iterdir()}
