"""The cache of augmented rows: variants of the training rows, validation rows unchanged, its own key."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.core.errors import CkptError, PlanError
from ckpttool.model.model import Model
from ckpttool.training.augment import augmentation_of
from ckpttool.training.features import Features
from ckpttool.verbs.cache import cache

TEXT = "shift(0.5); flip(); brightness(0.2)"
TRAIN, VALID, UNITS = 250, 50, 8
FIRST = f"first:{VALID}"
"""The validation rows, which are not augmented."""


def filled(model: Model, data: Path, root: Path, augment: str = TEXT, variants: int = 3, seed: int = 9) -> Features:
    return cache(model, data, "hidden1", valid=FIRST, root=root, augment=augment, cache_augment=variants, seed=seed)


def test_each_variant_is_what_the_frozen_layers_make_of_the_augmented_rows(
    model: Model, small: Path, data: Path, tmp_path: Path, new_session: Any
) -> None:
    features = filled(model, data, tmp_path)
    (array,) = features.arrays.values()
    assert array.shape == (3 * TRAIN + VALID, UNITS)
    assert features.summary() == {
        "path": str(features.entry.path),
        "rows": 3 * TRAIN + VALID,
        "bytes": array.nbytes,
        "hit": False,
        "variants": 3,
    }
    x = np.load(data, allow_pickle=False)["x_train"]
    rows = type("Rows", (), {"inputs": {"X": x[VALID:]}, "stored": {}, "steps": {}})
    augmentation = augmentation_of(TEXT, rows, None, 9, 3)  # type: ignore[arg-type]
    assert augmentation is not None
    session = new_session(small, small)
    for variant in range(3):
        changed = augmentation.variant(x[VALID:], variant, np.arange(TRAIN))
        assert not np.allclose(changed, x[VALID:])
        expected = session.run("dnn/hidden1/Relu:0", {"X:0": changed})
        np.testing.assert_allclose(array[variant * TRAIN : (variant + 1) * TRAIN], expected, atol=1e-5)
    untouched = session.run("dnn/hidden1/Relu:0", {"X:0": x[:VALID]})
    np.testing.assert_allclose(array[3 * TRAIN :], untouched, atol=1e-5)


def test_batches_do_not_show(model: Model, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (whole,) = filled(model, data, tmp_path / "a").arrays.values()
    monkeypatch.setattr("ckpttool.training.filling.BATCH_BYTES", 70 * 16)
    (pieces,) = filled(model, data, tmp_path / "b").arrays.values()
    np.testing.assert_allclose(pieces, whole, atol=1e-6)


def test_the_features_of_an_epoch_are_those_of_its_variant(model: Model, data: Path, tmp_path: Path) -> None:
    features = filled(model, data, tmp_path)
    (array,) = features.arrays.values()
    splits: Any = [type("Rows", (), {"rows": rows, "name": "train"}) for rows in (TRAIN, VALID)]
    assert [features.variant_of(epoch) for epoch in (1, 2, 3, 4, 5)] == [0, 1, 2, 0, 1]
    for variant in range(3):
        (found,) = features.of(splits, splits[0], variant).values()
        np.testing.assert_array_equal(found, array[variant * TRAIN :][:TRAIN])
        (found,) = features.of(splits, splits[1], variant).values()
        np.testing.assert_array_equal(found, array[3 * TRAIN :])
    with pytest.raises(ValueError, match="no features for the split train, variant 3"):
        features.of(splits, splits[0], 3)


def test_all_that_is_drawn_from_is_in_the_key(model: Model, data: Path, tmp_path: Path) -> None:
    first = filled(model, data, tmp_path)
    respelled = filled(model, data, tmp_path, "shift( .5, 0.5);flip(True);brightness(fraction=0.2)")
    assert respelled.hit
    others = [
        filled(model, data, tmp_path, variants=2),
        filled(model, data, tmp_path, seed=10),
        filled(model, data, tmp_path, "shift(0.25); flip(); brightness(0.2)"),
        cache(
            model,
            data,
            "hidden1",
            valid=FIRST,
            root=tmp_path,
            augment=TEXT,
            cache_augment=3,
            seed=9,
            image_shape=(4, 1),
        ),
        cache(model, data, "hidden1", valid=FIRST, root=tmp_path),
    ]
    assert not any(other.hit for other in others)
    assert len({features.entry.path for features in (first, respelled, *others)}) == 6


def test_the_seed_is_in_no_other_key(model: Model, data: Path, tmp_path: Path) -> None:
    plain = cache(model, data, "hidden1", valid=FIRST, root=tmp_path)
    assert cache(model, data, "hidden1", valid=FIRST, root=tmp_path, seed=10).hit
    assert plain.summary().keys() == {"path", "rows", "bytes", "hit"}


def test_what_cannot_be_cached_is_refused_before_anything_is_computed(model: Model, data: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="`augment` with `cache`: specify `cache_augment`, how many"):
        cache(model, data, "hidden1", root=tmp_path, augment=TEXT)
    with pytest.raises(PlanError, match="`cache_augment` 3 needs `augment`"):
        cache(model, data, "hidden1", root=tmp_path, cache_augment=3)
    with pytest.raises(CkptError, match="no operation spin"):
        filled(model, data, tmp_path, "spin(3)")
    assert not list(tmp_path.iterdir())


def test_images_that_the_trained_layers_see_too_cannot_be_cached(new_network: Any, data: Path, tmp_path: Path) -> None:
    with new_network().building() as net:
        X, y, _ = net.inputs()
        low = net.dense(X, 5, "low")
        net.classify(net.dense(net.tf.concat([low, X], 1), 3, "outputs", relu=False), y)
    model = Model.open(net.save(tmp_path / "skip.ckpt"))
    with pytest.raises(PlanError, match="`augment` can't be cached: X goes into the trained layers too"):
        cache(model, data, "low", root=tmp_path / "cache", augment="flip()", cache_augment=2)
    assert not (tmp_path / "cache").exists()
