"""Trials: each equals separate training, in whatever order they are run and whatever is shared."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ckpttool.core.errors import CkptError, GraphError
from ckpttool.model.model import Model
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.searching.configurations import SCRATCH, Block, Configuration, Outcome
from ckpttool.searching.rows import FINAL
from ckpttool.searching.trials import Trials, TrialSettings, TrialsFactory
from ckpttool.training.options import Options
from ckpttool.training.worker_model import WorkerModel
from ckpttool.verbs.new import plan_new


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> TrialSettings:
    """Ask how much of a new network of two layers to reuse, for 50 rows of two classes."""
    folder = tmp_path_factory.mktemp("trials")
    rows = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    labels = (rows[:, 0] + rows[:, 1] > 0).astype(np.int64)
    np.savez(folder / "rows.npz", x_train=rows[:50], y_train=labels[:50], x_test=rows[50:], y_test=labels[50:])
    plan_new([6], "one = dense(8, relu); two = dense(4, relu); outputs = dense(3)").write(folder / "net.ckpt")
    options = Options(recipe=Recipe("adam(0.02)"), epochs=8, batch_size=8, cache_dir=folder / "cache")
    return TrialSettings(folder / "rows.npz", "new = dense(2)", options, seeds=2)


@pytest.fixture(scope="module")
def model(asked: TrialSettings) -> Model:
    """Open the network."""
    return Model.open(Path(asked.data).parent / "net.ckpt")


@pytest.fixture(scope="module")
def trials(model: Model, asked: TrialSettings) -> Trials:
    """Open the trials once."""
    return Trials(model, asked)


def test_depths_and_rows_are_found_with_the_head_on(trials: Trials) -> None:
    assert [depth.layers for depth in trials.depths] == [(), ("one",), ("two",)]
    assert (trials.rows.design.kind, trials.rows.design.folds, trials.rows.choosing.rows) == ("folds", 5, 50)


def test_a_trial_gives_a_score_for_each_judged_row_and_learns(trials: Trials) -> None:
    outcome = trials((Configuration(1, 0), Block(0, 0)))
    assert (len(outcome.correct), set(outcome.correct) <= {0.0, 1.0}, outcome.epochs) == (10, True, 8)
    assert outcome.rows is not None
    assert outcome.rows.tolist() == trials.rows.of_block(Block(0, 0))[1].tolist()
    learnt = [trials((Configuration(1, 0), Block(0, fold))).accuracy for fold in range(5)]
    assert np.mean([each for each in learnt if each is not None]) > 0.75


@pytest.mark.parametrize(
    "configuration",
    [SCRATCH, pytest.param(Configuration(1, 1), marks=pytest.mark.slow), Configuration(2, 1), Configuration(2, 0)],
)
def test_a_trial_does_not_depend_on_what_was_run_before_it(
    trials: Trials, model: Model, asked: TrialSettings, configuration: Configuration
) -> None:
    block = Block(1, 3)
    trials((configuration, Block(0, 1)))
    shared, alone = trials((configuration, block)), Trials(model, asked)((configuration, block))
    assert shared.correct.tolist() == alone.correct.tolist()


def test_pulls_averages_and_found_rates_are_those_of_each_trial(model: Model, asked: TrialSettings) -> None:
    recipe = Recipe("adam(0.02)", lr="auto-rgn", l2_sp="0.01", ema=0.9)
    tuned = replace(asked, options=replace(asked.options, recipe=recipe, epochs=3))
    trial, trials = (Configuration(2, 1), Block(1, 3)), Trials(model, tuned)
    trials((Configuration(2, 1), Block(0, 1)))
    shared, alone = trials(trial), Trials(model, tuned)(trial)
    assert shared.correct.tolist() == alone.correct.tolist()
    assert shared.correct.mean() > 0.5


def test_the_result_is_told_on_rows_that_chose_nothing(trials: Trials) -> None:
    assert trials((Configuration(1, 1), FINAL)).correct.shape == (10,)


def test_the_rows_that_tell_choose_no_epoch(model: Model, asked: TrialSettings) -> None:
    stopped = replace(asked, options=replace(asked.options, early_stopping=1, epochs=200))
    before = {Block(0, 0): Outcome(epochs=2), Block(0, 1): Outcome(epochs=5), Block(0, 2): Outcome(state="failed")}
    assert Trials(model, stopped).final_outcome(Configuration(1, 1), before).epochs == 4  # 3.5


def test_early_stopping_takes_no_more_epochs_than_it_needs(model: Model, asked: TrialSettings) -> None:
    stopped = replace(asked, options=replace(asked.options, early_stopping=1, epochs=200))
    assert Trials(model, stopped)((Configuration(1, 1), Block(0, 0))).epochs < 200


def test_training_that_fails_is_an_outcome(model: Model, asked: TrialSettings) -> None:
    wild = replace(asked, options=replace(asked.options, recipe=Recipe("sgd(1e30)")))
    outcome = Trials(model, wild)((Configuration(1, 0), Block(0, 0)))
    assert (outcome.state, outcome.accuracy, outcome.reason) == ("failed", None, "the loss is not finite in epoch 1")


@pytest.mark.parametrize(
    ("head", "objective", "said"),
    [
        ("new = dense(1)", None, "goes on no depth: new/BiasAdd:0 is .None, 1., expected an output for each class"),
        ("new = dense(2)", Objective("mse"), "its outputs are amounts, which are near or far"),
        ("one = dense(2)", None, "the head names a layer one, which is below the cut"),
        ("pool = global_avg_pool(); new = dense(2)", None, "goes on no depth: pool: global_avg_pool needs inputs of"),
    ],
)
def test_a_head_that_does_not_fit_is_refused_before_anything_is_trained(
    model: Model, asked: TrialSettings, head: str, objective: Objective | None, said: str
) -> None:
    wrong = replace(asked, head=head, options=replace(asked.options, objective=objective))
    with pytest.raises(CkptError, match=said):
        _ = Trials(model, wrong).rows


def test_a_head_that_goes_on_some_depths_is_tried_on_these(asked: TrialSettings, tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(size=(60, 8, 8, 1)).astype(np.float32)
    np.savez(tmp_path / "images.npz", x_train=images, y_train=np.arange(60) % 2)
    layers = "conv1 = conv2d(2, 3); conv2 = conv2d(2, 3); flat = flatten(); full = dense(4); outputs = dense(3)"
    plan_new([8, 8, 1], layers).write(tmp_path / "conv.ckpt")
    pooled = replace(asked, data=tmp_path / "images.npz", head="pool = global_avg_pool(); new = dense(2)")
    trials = Trials(Model.open(tmp_path / "conv.ckpt"), pooled)
    tensors = ["dnn/conv1/BiasAdd:0", "dnn/conv2/BiasAdd:0", "dnn/full/BiasAdd:0"]
    assert [depth.tensor for depth in trials.depths[1:]] == tensors, "it goes on what is not flattened yet"
    assert (list(trials.models.misfits), trials.models.top) == ([3], 2)
    assert any("depth 3 is not kept, because `head` does not fit it: pool:" in note for note in trials.notes)
    flat = Trials(trials.source.model, replace(pooled, head="new = dense(2)"))
    assert (list(flat.models.misfits), flat.depths[2].tensor) == ([1], "dnn/flat/Reshape:0")
    trials((Configuration(1, 1), Block(0, 0)))
    after, alone = (each((Configuration(2, 2), Block(0, 0))) for each in (trials, Trials(trials.source.model, pooled)))
    assert after.correct.tolist() == alone.correct.tolist(), "each depth has its own features, pooled by the same head"
    tops = [key.top for key in trials.trainers._features._features]
    assert tops == tensors[:2]
    assert trials((SCRATCH, Block(0, 0))).state == "done"


def test_a_model_without_a_layer_below_its_head_is_refused(asked: TrialSettings, tmp_path: Path) -> None:
    plan_new([6], "outputs = dense(3)").write(tmp_path / "net.ckpt")
    with pytest.raises(GraphError, match="there is no layer below the output layer: there is nothing"):
        Trials(Model.open(tmp_path / "net.ckpt"), asked)


def test_a_worker_opens_the_same_model_or_refuses(model: Model, asked: TrialSettings, trials: Trials) -> None:
    factory = TrialsFactory(WorkerModel.of(model, trials.facts()), asked)
    assert factory == TrialsFactory(WorkerModel.of(model, trials.facts()), replace(asked))
    assert hash(factory) == hash(TrialsFactory(WorkerModel.of(model, trials.facts()), replace(asked)))
    assert factory != TrialsFactory(factory.model, replace(asked, seeds=3))
    outcome = factory()((Configuration(1, 1), Block(0, 0)))
    assert outcome.correct.tolist() == trials((Configuration(1, 1), Block(0, 0))).correct.tolist()
    with pytest.raises(GraphError, match="a worker has other weights"):
        TrialsFactory(WorkerModel.of(model, {**trials.facts(), "weights": "others"}), asked)()


def test_a_head_that_begins_without_weights_sees_the_depth_that_it_lies_on(model: Model, asked: TrialSettings) -> None:
    """Its ops on frozen layers have the same name above each depth."""
    shared = Trials(model, replace(asked, head="act = activation(relu); new = dense(2)"))
    for configuration in (Configuration(1, 1), Configuration(2, 2)):
        alone = Trials(model, shared.settings)((configuration, Block(0, 0)))
        np.testing.assert_array_equal(shared((configuration, Block(0, 0))).correct, alone.correct)
