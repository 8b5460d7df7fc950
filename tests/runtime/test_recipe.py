"""Recipes: valid texts, and errors for invalid ones."""

from typing import Any

import pytest

from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.runtime.optimizers import Adam, RMSProp
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.schedules import Performance


def test_an_optimizer_is_a_call_or_a_name() -> None:
    assert Recipe("adam(1e-2, beta2=0.99)").update_rule == Adam(0.01, beta1=0.9, beta2=0.99, epsilon=1e-8)
    assert Recipe("rmsprop").update_rule == RMSProp(None, decay=0.9, momentum=0.0, epsilon=1e-10, centered=False)


@pytest.mark.parametrize(
    ("recipe", "rate"),
    [
        (Recipe(), 0.01),
        (Recipe("adam"), 0.001),
        (Recipe("adam(0.5)"), 0.5),
        (Recipe("adam", lr="0.25"), 0.25),
        (Recipe("adam(0.5)", lr="0.5"), 0.5),
        (Recipe("adam(0.5)", lr="outputs=0.1"), 0.5),
    ],
)
def test_the_base_rate(recipe: Recipe, rate: float) -> None:
    assert recipe.rate == rate


def test_the_performance_schedule_is_for_the_run_to_follow() -> None:
    assert Recipe(schedule="performance(patience=5)").plateau == Performance(0.5, 5)
    assert Recipe().plateau is None


@pytest.mark.parametrize(
    ("fields", "error", "problem"),
    [
        ({"optimizer": "momntum"}, UnknownName, "no optimizer momntum; known: sgd, momentum, .*; nearest: momentum"),
        ({"optimizer": "adam(beta=0.9)"}, UnknownName, "adam has no argument 'beta'; nearest: beta"),
        ({"optimizer": "adam(beta1=1)"}, PlanError, "`optimizer` adam: beta1 must be at least 0 and below 1, found 1"),
        ({"optimizer": "momentum(0.1, 1.5)"}, PlanError, "momentum must be a number from 0 to 1, found 1.5"),
        ({"optimizer": "sgd(0)"}, PlanError, "`optimizer` sgd: learning_rate must be a number above 0, found 0"),
        ({"optimizer": "sgd(x)"}, PlanError, "`optimizer`, line 1, column 5, at 'x': expected a number"),
        ({"optimizer": "ftrl(learning_rate_power=1)"}, PlanError, "learning_rate_power must be a number not above 0"),
        ({"optimizer": "adamw(weight_decay=-1)"}, PlanError, "weight_decay must be a number not below 0, found -1"),
        ({"optimizer": "adam(0.1)", "lr": "0.2"}, PlanError, "has the rate 0.1, `lr` is 0.2: specify one of them"),
        (
            {"lr": "fast"},
            PlanError,
            "`lr` 'fast': 'fast' is not a valid value, expected a number, for all or in PATTERN=VALUE pairs",
        ),
        ({"lr": "a=1; b=2"}, PlanError, "`lr` 'a=1; b': pairs are separated by commas, found a semicolon"),
        ({"lr": "nan"}, PlanError, "`lr` must be a number above 0, found nan"),
        ({"lr": "hidden1=0.1, outputs=-1"}, PlanError, "`lr` must be a number above 0, found -1"),
        ({"lr_decay_per_layer": 0.0}, PlanError, "`lr_decay_per_layer` must be a number above 0, found 0"),
        ({"lr_decay_per_layer": 1.5}, PlanError, "`lr_decay_per_layer` must be at most 1, found 1.5"),
        ({"schedule": "exponental"}, UnknownName, "no schedule exponental; .*; nearest: exponential"),
        ({"warmup": -1}, PlanError, "`warmup` must be a number of steps, found -1"),
        ({"l1": "-1"}, PlanError, "`l1` must be a number not below 0, found -1"),
        ({"ema": 1.0}, PlanError, "`ema` must be a decay above 0 and below 1, such as 0.99, found 1"),
        ({"l2_sp": "outputs=-1"}, PlanError, "`l2_sp` must be a number not below 0, found -1"),
        ({"max_norm": "inf"}, PlanError, "`max_norm` must be a number not below 0, found inf"),
        ({"clip_value": 0.0}, PlanError, "`clip_value` must be a number above 0, found 0"),
        ({"clip_norm": float("nan")}, PlanError, "`clip_norm` must be a number above 0, found nan"),
        ({"clip_global_norm": -1.0}, PlanError, "`clip_global_norm` must be a number above 0, found -1"),
    ],
)
def test_what_cannot_train_is_refused(fields: dict[str, Any], error: type, problem: str) -> None:
    with pytest.raises(error, match=problem):
        Recipe(**fields)
