"""Fingerprints: equal content has equal text; any other content has another."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.tensors import PIECE, Array
from ckpttool.data import dataset
from ckpttool.data.files import InputSpec, Wanted
from ckpttool.data.fingerprint import fingerprint
from ckpttool.data.held_out import HeldOut
from ckpttool.data.splits import Split

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 4, 4)).astype(np.uint8)


def training_splits(path: Path, inputs: list[InputSpec], labels: InputSpec | None, valid: int | None) -> Any:
    return dataset.training_splits(path, Wanted(tuple(inputs), labels), HeldOut.parse(valid))


def evaluation_split(path: Path, inputs: list[InputSpec], labels: InputSpec | None, *which: Any, **more: Any) -> Split:
    return dataset.evaluation_split(path, Wanted(tuple(inputs), labels), *which, **more)


def made(array: Array, labels: Array | None = None, name: str = "X") -> str:
    return fingerprint(Split("train", {name: array}, labels, len(array)))


def test_it_follows_from_the_content_alone(tmp_path: Path) -> None:
    X = InputSpec("X", (None, 16), BY_NAME["float32"])
    for name in ("a.npz", "b.npz"):
        np.savez_compressed(tmp_path / name, x=IMAGES)
    np.savez(tmp_path / "c.npz", X_test=IMAGES)
    assert len({fingerprint(evaluation_split(tmp_path / f"{name}.npz", [X], None)) for name in "abc"}) == 1
    train, valid = training_splits(tmp_path / "a.npz", [X], None, 3)
    assert fingerprint(train) != fingerprint(valid)


def test_every_difference_shows() -> None:
    array = np.arange(24, dtype=np.int32).reshape(6, 4)
    changed = array.copy()
    changed[5, 3] += 1
    prints = [
        made(array),
        made(changed),
        made(array.reshape(4, 6)),
        made(array.view(np.uint32)),
        made(array, name="Z"),
        made(array, labels=np.arange(6)),
        made(array, labels=np.arange(6)[::-1]),
        made(array[:0]),
    ]
    assert len(set(prints)) == len(prints)
    assert made(np.asfortranarray(array)) == made(array)


def test_the_dtype_that_the_placeholder_wants_counts(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=IMAGES)
    wanted = [InputSpec("X", (None, 16), BY_NAME[name]) for name in ("float32", "float64", "uint8")]
    assert len({fingerprint(evaluation_split(tmp_path / "d.npz", [spec], None)) for spec in wanted}) == 3


@pytest.mark.parametrize("place", [0, PIECE - 1, PIECE, 2 * PIECE])
def test_every_piece_counts(place: int) -> None:
    array = np.zeros((2 * PIECE + 1, 1), np.uint8)
    before = made(array)
    array[place] = 1
    assert made(array) != before
