"""Features of frozen parts: each is computed from the nearest existing ones below, and equals that of the rows."""

from pathlib import Path

import numpy as np
import pytest

from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.searching.configurations import Block, Configuration
from ckpttool.searching.trials import Trials, TrialSettings
from ckpttool.training.feature_cache import FeatureCache, nearest_below
from ckpttool.training.options import Options
from ckpttool.verbs.new import plan_new

TOP, LOW = "dnn/three/Relu:0", "dnn/one/Relu:0"


@pytest.fixture
def trials(tmp_path: Path) -> Trials:
    """Open trials of a network of three layers on 60 rows."""
    rows = np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x_train=rows, y_train=np.arange(60) % 2)
    layers = "one = dense(8, relu); two = dense(7, relu); three = dense(5, relu); outputs = dense(3)"
    plan_new([6], layers).write(tmp_path / "net.ckpt")
    options = Options(recipe=Recipe("adam(0.02)"), epochs=1, batch_size=8, cache_dir=tmp_path / "cache")
    return Trials(
        Model.open(tmp_path / "net.ckpt"), TrialSettings(tmp_path / "rows.npz", "new = dense(2)", options, seeds=1)
    )


def test_deeper_features_are_computed_from_those_below(trials: Trials, monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[list[str]] = []
    compute = FeatureCache.compute

    def listening(cache: FeatureCache, rows: np.ndarray) -> dict[str, np.ndarray]:
        fed.append([*cache._below, *cache._needed])
        return compute(cache, rows)

    monkeypatch.setattr(FeatureCache, "compute", listening)
    for depth in (1, 3):
        assert trials((Configuration(depth, depth), Block(0))).state == "done"
    assert [list(each) for each in dict.fromkeys(map(tuple, fed))] == [["X"], [LOW]]

    (deep,) = (each for (tensors, *_), each in trials.trainers._features._features.items() if tensors == (TOP,))
    split = trials.rows.choosing
    again = Trials(trials.source.model, trials.settings)
    again((Configuration(3, 3), Block(0)))
    (direct,) = (each for (tensors, *_), each in again.trainers._features._features.items() if tensors == (TOP,))
    assert direct.hit, "the key says what features follow from, not how they were computed"
    live = trials.source.inference([TOP], trials.source.feeds(split))
    expected = np.concatenate([values[0] for _, values in live.over(trials.source.feeds(split), split.rows)])
    np.testing.assert_allclose(deep.arrays[TOP], expected, atol=1e-6)


def test_of_what_is_known_the_nearest_is_taken(trials: Trials) -> None:
    graph, middle = trials.source.model.graph, "dnn/two/Relu:0"
    below, ops = nearest_below(graph, [TOP], [LOW, middle, "dnn/outputs/BiasAdd:0", TOP])
    assert (below, "X" in ops) == ([middle], False)
    below, ops = nearest_below(graph, [TOP], ["dnn/outputs/BiasAdd:0", "elsewhere/Relu:0"])
    assert (below, "X" in ops) == ([], True)
