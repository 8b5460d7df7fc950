"""Collapse: statistics of features for a representation, and the warnings about it."""

from pathlib import Path

import numpy as np
import pytest

from ckpttool.runtime.pretraining.methods import PretrainingMethod
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.collapse import Representation
from ckpttool.training.options import Options
from ckpttool.verbs.pretrain import pretrain

DRAW = np.random.default_rng(0)


class Notes(Callback):
    """Stores notices."""

    def __init__(self) -> None:
        """Start empty."""
        self.said: list[str] = []

    def on_notes(self, notes: list[str]) -> None:  # type: ignore[override]
        """Store notices."""
        self.said += notes


@pytest.mark.parametrize(
    ("features", "collapsed"),
    [
        (DRAW.normal(size=(200, 20)), False),
        (np.maximum(DRAW.normal(size=(200, 20)), 0), False),
        (np.maximum(DRAW.normal(size=(200, 20)), 0) * (np.arange(20) < 5), False),  # three in four units are dead
        (DRAW.normal(size=(200, 2)) @ DRAW.normal(size=(2, 20)), False),  # rows of two factors
        (np.zeros((200, 20)), True),
        (np.ones((200, 20)) + DRAW.normal(size=(200, 20)) * 1e-3, True),
        (DRAW.normal(size=(200, 1)) * DRAW.normal(size=20) + 5, True),
        (DRAW.normal(size=(200, 1)), False),  # one unit has one direction
        (np.ones((1, 20)), False),  # unknown for one row
    ],
)
def test_features_that_tell_no_rows_apart_have_collapsed(features: np.ndarray, collapsed: bool) -> None:
    assert Representation.of(features.astype(np.float32)).has_collapsed is collapsed


def test_the_effective_rank_is_that_of_the_formula() -> None:
    """The exponential of Shannon's entropy of the singular values, by an SVD."""
    features = DRAW.normal(size=(50, 6)) * [5, 4, 3, 2, 1, 0.1] + 7
    values = np.linalg.svd(features - features.mean(axis=0), compute_uv=False)
    shares = values / values.sum()
    assert Representation.of(features).effective_rank == pytest.approx(
        np.exp(-np.sum(shares * np.log(shares))), abs=1e-3
    )


@pytest.mark.parametrize(("sparsity", "collapsed"), [(0, False), (1000, True)])
def test_a_layer_that_gives_nothing_but_zeros_is_told(sparsity: int, collapsed: bool, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x_train=DRAW.random((200, 6)).astype(np.float32))
    method, notes = PretrainingMethod.read(f"autoencoder(sparsity={sparsity})", "`method`"), Notes()
    options = Options(epochs=3, batch_size=20, recipe=Recipe("adam(0.05)"), keep="last", cache_dir=tmp_path / "cache")
    done = pretrain(
        tmp_path / "rows.npz", "hidden1 = dense(8, relu)", method, tmp_path / "out.ckpt", options, callbacks=notes
    )
    (stage,) = done.stages
    told = [note for note in notes.said if "collapsed" in note]
    assert stage["representation"]["collapsed"] is collapsed and stage["representation"]["features"] == 8
    assert told == (["hidden1 has collapsed: 8 of 8 features are the same for all of 20 rows; " + _HELPS] * collapsed)
    assert f"effective rank {stage['representation']['effective_rank']:.1f} of 8" in done.lines(tmp_path)[1]


_HELPS = "try a lower `lr`, another activation (elu), or less sparsity"
