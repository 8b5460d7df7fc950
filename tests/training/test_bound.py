"""A model bound to a data set: what is fed where, and misfits are rejected before anything runs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ckpttool.core.errors import DataError, GraphError, UnknownName
from ckpttool.data.held_out import HeldOut
from ckpttool.model.model import Model
from ckpttool.training.bound import Bound
from ckpttool.training.evaluation_rows import Which


def test_training_rows_are_fed_to_the_placeholders_of_their_roles(model: Model, data: Path) -> None:
    bound = Bound.of(model).with_training_rows(data, HeldOut(50), None)
    train, valid = bound.splits
    assert (train.rows, valid.rows) == (250, 50)
    assert {name: array.shape for name, array in bound.feeds(train).items()} == {"X:0": (250, 4), "y:0": (250,)}
    assert bound.check_classes() == (3,)


def test_evaluation_rows_may_go_without_labels(model: Model, data: Path) -> None:
    bound = Bound.of(model).with_evaluation_rows(data, Which(), None, labels=False)
    (rows,) = bound.splits
    assert (rows.name, rows.rows, list(bound.feeds(rows))) == ("test", 60, ["X:0"])


def test_a_stream_computes_tensors_of_the_rows(model: Model, data: Path) -> None:
    bound = Bound.of(model).with_evaluation_rows(data, Which("test"), None)
    arrays = bound.feeds(bound.splits[0])
    logits = np.concatenate(
        [part[0] for _, part in bound.inference([str(bound.roles.logits)], arrays).over(arrays, 60)]
    )
    assert logits.shape == (60, 3)


def test_a_label_without_an_output_is_refused(model: Model, tmp_path: Path) -> None:
    np.savez(tmp_path / "rows.npz", x_train=np.zeros((4, 4), np.float32), y_train=np.array([0, 1, 2, 3]))
    bound = Bound.of(model).with_training_rows(tmp_path / "rows.npz", HeldOut(1), None)
    with pytest.raises(DataError, match="expected 0 to 2: the model has 3 outputs"):
        bound.check_classes()


def test_what_is_not_known_has_to_be_specified(model: Model) -> None:
    with pytest.raises(UnknownName, match="nothing"):
        Bound.of(model, {"inputs": "nothing"})
    bound = Bound.of(model)
    with pytest.raises(GraphError, match="no placeholder for labels is known; specify `labels`"):
        replace(bound, roles=replace(bound.roles, labels=None)).wanted()
    with pytest.raises(GraphError, match="no input placeholder is known; specify `inputs`"):
        replace(bound, roles=replace(bound.roles, inputs=())).wanted()
    with pytest.raises(GraphError, match="expected a placeholder that rows can be fed to"):
        replace(bound, roles=replace(bound.roles, inputs=("loss/loss:0",))).wanted()
