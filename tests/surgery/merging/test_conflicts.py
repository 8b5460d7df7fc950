"""Conflicts between models, compared with NumPy on whole arrays."""

from typing import Any

import numpy as np
import pytest

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.surgery.merging.conflicts import conflicts

SHAPES = {"low/kernel": (300, 400), "low/bias": (400,), "head/kernel": (400, 10)}


def model(seed: int) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    return {name: draw.normal(size=shape).astype(np.float32) for name, shape in SHAPES.items()}


def tuned(seed: int, layers: tuple[str, ...]) -> dict[str, Any]:
    draw = np.random.default_rng(seed)
    return {
        name: array + (draw.normal(0, 0.1, array.shape).astype("f") if name.startswith(layers) else 0)
        for name, array in model(0).items()
    }


def test_shares_cosines_and_distances_are_numpys() -> None:
    base, models = model(0), [tuned(1, ("low", "head")), tuned(2, ("low", "head")), tuned(3, ("low",))]
    rows = {row.name: row for row in conflicts(Checkpoint.of(base), [Checkpoint.of(each) for each in models])}
    start = np.concatenate([base[name].ravel() for name in ("low/kernel", "low/bias")]).astype(float)
    moves = [
        np.concatenate([each[name].ravel() for name in ("low/kernel", "low/bias")]).astype(float) - start
        for each in models
    ]
    low = rows["low"]
    signs = np.sign(moves)
    assert low.moved == 1
    assert low.conflicts == pytest.approx(((signs.max(0) > 0) & (signs.min(0) < 0)).mean())
    cosines = [
        a @ b / np.linalg.norm(a) / np.linalg.norm(b)
        for a, b in ((0, 1), (0, 2), (1, 2))
        for a, b in [(moves[a], moves[b])]
    ]
    assert low.cosine == pytest.approx(np.mean(cosines))
    assert low.distances == pytest.approx([np.linalg.norm(move) / np.linalg.norm(start) for move in moves])
    assert rows["head"].cosine is None
    assert rows["head"].distances[2] == 0
    assert set(rows) == {"low", "head", "all layers"}


def test_layers_that_nobody_moved_are_left_out_and_the_worst_comes_first() -> None:
    base = model(0)
    up, down = dict(base), dict(base)
    up["head/kernel"], down["head/kernel"] = base["head/kernel"] + 1, base["head/kernel"] - 1
    rows = conflicts(Checkpoint.of(base), [Checkpoint.of(up), Checkpoint.of(down)])
    assert [row.name for row in rows] == ["head", "all layers"]
    assert (rows[0].moved, rows[0].conflicts, rows[0].cosine) == (1, 1, pytest.approx(-1))
    assert rows[1].moved == pytest.approx(4000 / 124400)
    (nothing,) = conflicts(Checkpoint.of(base), [Checkpoint.of(base), Checkpoint.of(base)])
    assert (nothing.name, nothing.moved, nothing.conflicts, nothing.cosine) == ("all layers", 0, 0, None)


def test_one_model_and_models_of_other_shapes_are_refused() -> None:
    base = Checkpoint.of(model(0))
    with pytest.raises(PlanError, match="expected two models or more"):
        conflicts(base, [base])
    with pytest.raises(PlanError, match="head/kernel is missing in checkpoint 1"):
        conflicts(Checkpoint.of({"low/kernel": np.ones(3)}), [base, base])
