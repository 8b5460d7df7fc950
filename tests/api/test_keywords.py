"""Keywords: one flat set, equal to the fields of `Options`, `Recipe` and `Objective`, compared with their types."""

import inspect
from dataclasses import fields
from typing import Any, get_type_hints

import pytest

import ckpttool
from ckpttool.api.keywords import (
    ROLES,
    PretrainingKeywords,
    TrainingKeywords,
    objective_of,
    options_of,
    recipe_of,
    roles_of,
)
from ckpttool.core.errors import PlanError, WrongKind
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.recipe import Recipe
from ckpttool.training.options import Options

OBJECTIVE = {"objective", "class_weight", "label_smoothing"}


def test_all_options_of_a_run_are_keywords() -> None:
    own = {each.name for each in fields(Options)} - {"recipe", "objective", "roles"}
    expected = own | {each.name for each in fields(Recipe)} | OBJECTIVE | {*ROLES, "training_op"}
    assert get_type_hints(TrainingKeywords).keys() == expected
    assert get_type_hints(PretrainingKeywords).keys() <= expected


def test_a_signature_has_the_defaults_of_the_options() -> None:
    parameters = inspect.signature(ckpttool.finetune).parameters
    options, recipe = Options(), Recipe()
    assert {name: one.default for name, one in parameters.items() if hasattr(options, name)} == {
        name: getattr(options, name) for name in parameters if hasattr(options, name)
    } | {"objective": None}
    assert {name: one.default for name, one in parameters.items() if hasattr(recipe, name)} == {
        name: getattr(recipe, name) for name in parameters if hasattr(recipe, name)
    }


def test_keywords_are_options() -> None:
    flat: dict[str, Any] = {
        "lr": {"hidden[12]": 1e-4, "outputs": 0.01},
        "l2": 1e-3,
        "optimizer": "momentum",
        "dropout": 0.5,
        "freeze": "hidden1",
        "epochs": 3,
        "class_weight": {3: 2.0},
        "inputs": "X",
        "image_shape": [28, 28, 1],
    }
    assert options_of(flat) == Options(
        recipe=Recipe("momentum", lr="hidden[12]=0.0001, outputs=0.01", l2="0.001"),
        dropout="0.5",
        freeze="hidden1",
        epochs=3,
        objective=Objective(class_weight="3=2.0"),
        roles={"inputs": ("X",)},
        image_shape=(28, 28, 1),
    )


def test_keywords_come_before_the_options() -> None:
    base = Options(recipe=Recipe("adam", lr=0.1), objective=Objective("sigmoid"), epochs=9, roles={"loss": "a:0"})
    made = options_of({"lr": 0.5, "loss": "b:0", "label_smoothing": 0.1}, base)
    assert made.recipe == Recipe("adam", lr=0.5)
    assert made.objective == Objective("sigmoid", label_smoothing=0.1)
    assert (made.epochs, made.roles) == (9, {"loss": "b:0"})
    assert options_of({}, base) == base


def test_parts_of_keywords() -> None:
    assert recipe_of({"lr": 1, "epochs": 3}) == Recipe(lr=1.0)
    assert objective_of({"objective": "mse"}) == Objective("mse")
    assert objective_of({"objective": Objective("mse")}) == Objective("mse")
    assert objective_of({"objective": None}) is None
    assert roles_of({"labels": None, "logits": "a:0"}) == {"logits": "a:0"}


def test_a_training_op_is_trained_with_as_it_is() -> None:
    assert options_of({"training_op": "train"}).recipe is None
    with pytest.raises(PlanError, match="leave `lr` out"):
        options_of({"training_op": "train", "lr": 0.1})


@pytest.mark.parametrize(
    ("keywords", "problem"),
    [
        ({"lrr": 0.1}, r"^finetune\(\) has no keyword 'lrr'; nearest: lr"),
        ({"epochs": "3"}, r"^`epochs`: expected a whole number, found '3' \(str\)$"),
        ({"epochs": True}, r"^`epochs`: expected a whole number, found True \(bool\)$"),
        ({"lr": [0.1]}, r"^`lr`: expected a number, text, a mapping or None, found a value of the type list$"),
        ({"keep": "lst"}, r"^`keep`: expected 'best' or 'last', found 'lst' \(str\)$"),
        ({"classes": 3}, r"^`classes`: expected a sequence, a path, text or None, found 3 \(int\)$"),
        ({"options": {"lr": 0.1}}, r"^`options`: expected an Options, found dict"),
        ({"callbacks": print}, r"^`callbacks`: expected a Callback, or a list of these$"),
    ],
)
def test_what_does_not_go_is_told(keywords: dict[str, Any], problem: str) -> None:
    with pytest.raises(WrongKind, match=problem):
        ckpttool.finetune("model.ckpt", "data.npz", "out.ckpt", **keywords)
