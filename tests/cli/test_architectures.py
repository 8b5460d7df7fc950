"""A `keras.applications` architecture can replace any model path, with random weights on request."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.model import keras_application

NAMED = ("keras:MobileNet(alpha=0.25, input_shape=32, classes=7)", "--weights", "none")
ALONE = "keras:MobileNet(alpha=0.25, input_shape=32, classes=7, weights='none')"


@pytest.fixture(autouse=True)
def opened_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras_application, "open_application", _once)


_once: Any = cache(keras_application.open_application)


def test_every_command_takes_it(shell: Any, tmp_path: Path) -> None:
    shell.run("convert", *NAMED, "-o", tmp_path / "w.npz")
    with np.load(tmp_path / "w.npz") as arrays:
        np.savez(tmp_path / "other.npz", **{name: arrays[name] + 1 for name in arrays})

    assert "Softmax\t1" in shell.lines("ops", *NAMED, "--count")
    assert len(shell.lines("collections", *NAMED)) > 3
    assert "conv_preds/bias\t[7]\tfloat32\t28\tweight" in shell.lines("vars", *NAMED)
    assert any("conv_preds/BiasAdd:0" in line for line in shell.lines("layers", *NAMED))
    assert shell.json("show", *NAMED, "conv_preds/bias")["shape"] == [7]
    assert "conv1/kernel" in shell.run("stats", *NAMED).output

    shell.run("import", tmp_path / "other.npz", "--into", ALONE, "-o", tmp_path / "imported.ckpt")
    assert "137 same" in shell.run("diff", tmp_path / "other.npz", tmp_path / "imported.ckpt").output
    assert "of its name)" in shell.run("log", tmp_path / "imported.ckpt").output
    shell.run("export", *NAMED, "--like", tmp_path / "other.npz", "-o", tmp_path / "exported.npz")
    assert "137 same" in shell.run("diff", tmp_path / "exported.npz", ALONE).output

    np.save(tmp_path / "rows.npy", np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3)).astype(np.uint8))
    shell.run("fold", *NAMED, "-o", tmp_path / "folded.pb")
    shell.run("export-saved-model", *NAMED, "-o", tmp_path / "served")
    found = []
    for model, *given in (NAMED, (tmp_path / "folded.pb", "--preprocess", "keras(tf)")):
        shell.run("predict", model, *given, "--data", tmp_path / "rows.npy", "-o", tmp_path / "o.npz", "--overwrite")
        found.append(np.load(tmp_path / "o.npz")["probabilities"])
    np.testing.assert_allclose(*found, atol=1e-6)


def test_no_weights_are_looked_for_where_none_are_asked_for(
    shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    refused = shell.error("layers", "keras:MobileNet(alpha=0.25,input_shape=32, classes=7)")
    assert "and --weights none initialises them randomly" in refused
    shell.run("layers", *NAMED)
