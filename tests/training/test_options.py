"""Options that are objects: a string in their place is rejected, with the object that it stands for."""

from pathlib import Path
from typing import Any

import pytest

from ckpttool.core.errors import PlanError
from ckpttool.model.model import Model
from ckpttool.training.options import Options
from ckpttool.verbs.evaluate import evaluate
from ckpttool.verbs.new import plan_new

FIXTURES = Path(__file__).parents[2] / "fixtures"


def test_a_text_where_an_object_is_wanted_is_refused_with_the_object() -> None:
    text: Any = "softmax"
    refused = r"`objective` must be Objective\('softmax'\), found softmax"
    with pytest.raises(PlanError, match=refused):
        Options(objective=text)
    with pytest.raises(PlanError, match=refused):
        evaluate(Model.open(FIXTURES / "my_model_final.ckpt"), FIXTURES / "mnist_small.npz", objective=text)
    with pytest.raises(PlanError, match=refused):
        plan_new([4], "out = dense(3)", objective=text)
    with pytest.raises(PlanError, match=r"`recipe` must be Recipe\('softmax'\)"):
        Options(recipe=text)
