"""Running plans: which checkpoint a step works on, its arguments, and what stops a plan."""

import math
import tomllib

import numpy as np
import pytest

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, FormatError, PlanError, UnknownName
from ckpttool.plans.run import carry_out
from ckpttool.plans.script import Script


@pytest.fixture
def sources():
    base = {f"layer_{n}/kernel": np.full((2, 3), float(n), np.float32) for n in range(3)}
    return {
        "base": Checkpoint.of({**base, "global_step": np.array(7)}),
        "tuned": Checkpoint.of({name: array + 1 for name, array in base.items()} | {"global_step": np.array(9)}),
    }


def carried(sources, *steps, **variables):
    return carry_out(Script.of({"step": list(steps)}), sources, variables)


def values(result):
    return {name: tensor.read().tolist() for name, tensor in result.edited.tensors.items()}


def test_steps_work_on_the_first_source_then_on_what_was_made_last(sources):
    result = carried(sources, {"keep": "layer_[01]"}, {"for": "layer_{i}", "rename": "layer_{i}=>b{i}"})
    assert [(each.step, each.on, each.names) for each in result.steps] == [
        ("keep layer_[01]", "base", ("layer_2/kernel", "global_step")),
        ("rename layer_0=>b0", "base", ("b0/kernel",)),
        ("rename layer_1=>b1", "base", ("b1/kernel",)),
    ]
    assert list(result.edited.tensors) == ["b0/kernel", "b1/kernel"]


def test_on_and_as_name_checkpoints(sources):
    result = carried(
        sources,
        {"on": "tuned", "keep": "layer_2", "as": "top"},
        {"on": "base", "keep": "layer_[01]", "as": "low"},
        {"merge": ["low", "top"], "as": "both"},
        {"assert": ".*", "count": 3},
    )
    assert values(result) == {
        "layer_0/kernel": [[0] * 3] * 2,
        "layer_1/kernel": [[1] * 3] * 2,
        "layer_2/kernel": [[3] * 3] * 2,
    }


def test_merges_and_averages_take_what_their_commands_take(sources):
    summed = carried(sources, {"merge": ["base", "tuned"], "how": "sum", "weights": [-1, 1]}, {"keep": "layer_0"})
    assert values(summed) == {"layer_0/kernel": [[1] * 3] * 2}
    mean = carried(sources, {"average": ["base", "tuned"], "weights": [3, 1]}, {"keep": "layer_0"})
    assert values(mean) == {"layer_0/kernel": [[0.25] * 3] * 2}
    grown = carried(
        sources, {"merge": ["tuned"] * 2, "how": "ties", "base": "base", "density": 1.0}, {"keep": "layer_0"}
    )
    assert values(grown) == {"layer_0/kernel": [[1] * 3] * 2}


def test_a_merge_goes_as_far_as_its_scale_says(sources):
    half = {"merge": ["tuned"], "how": "task-arithmetic", "base": "base", "scale": 0.5}
    assert values(carried(sources, {**half, "merge": ["tuned"] * 2}, {"keep": "layer_0"})) == {
        "layer_0/kernel": [[1] * 3] * 2
    }
    with pytest.raises(FormatError, match="found cast and merge"):
        carried(sources, {**half, "cast": "float16"})


def test_assertions_do_not_change_which_checkpoint_is_next(sources):
    result = carried(
        sources, {"drop": "layer_2"}, {"on": "tuned", "assert": "layer_2", "count": 1}, {"drop": "layer_1"}
    )
    assert list(result.edited.tensors) == ["layer_0/kernel", "global_step"]


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"assert": "layer_.*", "count": 2}, "'layer_.*' matches 3 tensors .*, expected 2"),
        ({"assert": "layer_9"}, "matches nothing; nearest: layer_"),
        ({"assert": "layer_.*", "dtype": "float16"}, "layer_0/kernel is float32, expected float16"),
        ({"assert": "layer_.*", "shape": [2, "{width}"]}, r"has the shape \[2, 3\], expected \[2, 4\]"),
        ({"assert": "layer_.*", "exactly": ["layer_0/kernel", "x"]}, "takes not x and also layer_1/kernel, layer_2"),
        ({"assert": "layer_.*", "equals": "other"}, "no checkpoint is named other.*known: base, tuned"),
        ({"assert": "layer_.*", "norm": [1]}, "norm is .*expected the lowest and the highest"),
    ],
)
def test_assertions_on_names_shapes_and_dtypes_stop_a_plan_before_a_value_is_read(sources, step, message):
    with pytest.raises(CkptError, match=f"step 1: .*{message}"):
        carried(sources, step, width=4)


def test_assertions_on_values_stop_it_when_they_are_read(sources):
    result = carried(sources, {"assert": "layer_[01]", "equals": "tuned", "within": 0.5}, {"drop": "layer_1"})
    with pytest.raises(PlanError, match="step 1, equals: layer_0/kernel differs from tuned in 6 elements by up to 1"):
        result.edited.tensors["layer_0/kernel"].read()
    with pytest.raises(PlanError, match="step 1, equals: layer_"):
        result.checks.finish()


def test_finite_values_are_asserted_only_if_that_is_asked_for():
    flawed = {"a": Checkpoint.of({"w": np.array([1.0, np.nan])})}
    with pytest.raises(PlanError, match="step 1, finite: w has 1 elements that are NaN or infinite"):
        carried(flawed, {"assert": "w", "finite": True}).checks.finish()
    for step in ({"assert": "w"}, {"assert": "w", "finite": False}):
        carried(flawed, step).checks.finish()


def test_slots_are_asserted_where_they_are_asked_for(sources):
    assert carried(sources, {"assert": "global_step", "slots": True, "count": 1}).steps[0].names == ("global_step",)
    assert carried(sources, {"assert": "global_step", "count": 0}).steps[0].names == ()


@pytest.mark.parametrize(
    ("step", "error", "message"),
    [
        ({"renam": "a=>b"}, FormatError, "found renam; nearest: rename"),
        ({"drop": "a", "keep": "b"}, FormatError, "found drop and keep"),
        ({"drop": "a", "whn": "b"}, UnknownName, "whn has no meaning here"),
        ({"drop": 3}, FormatError, "drop is 3, expected str or bool"),
        ({"drop-slots": False}, FormatError, "drop-slots is false"),
        ({"merge": "base"}, FormatError, "merge is 'base', expected list"),
        ({"merge": [1, 2]}, FormatError, "expected a list of names"),
        ({"merge": ["base", "tuned"], "how": "magic"}, PlanError, "unknown method 'magic'"),
        ({"average": ["base", "tuned"], "weights": ["a", "b"]}, FormatError, "weights is .*expected numbers"),
        ({}, FormatError, "found nothing"),
        ({"assert": "layer_.*", "exactly": [["x"]]}, FormatError, "exactly is .*expected a list of names"),
        ({"assert": "layer_.*", "within": 0.1}, FormatError, "within is how far from `equals`, which is not there"),
        (
            {"assert": "layer_.*", "equals": "tuned", "within": math.nan},
            FormatError,
            "within is nan, expected a finite",
        ),
        ({"assert": "layer_.*", "equals": "tuned", "within": 10**400}, FormatError, "within is 1000.*at most 64 bits"),
        ({"assert": "layer_.*", "norm": [0, 10**400]}, FormatError, "norm is .*expected numbers of at most 64 bits"),
        ({"average": ["base", "tuned"], "decay": math.inf}, FormatError, "decay is inf, expected a finite number"),
        ({"merge": ["base", "tuned"], "how": "sum", "scale": [1, 2]}, FormatError, "scale is .*a list of names"),
        ({"merge": ["tuned"] * 2, "how": "dare", "base": "base", "seed": -1}, PlanError, "`seed` is -1, expected 0 or"),
    ],
)
def test_what_is_no_step_is_refused_with_its_place(sources, step, error, message):
    with pytest.raises(error, match=f"step 1: .*{message}"):
        carried(sources, step)


def test_variables_stand_for_numbers_too(sources):
    steps = [
        {"merge": ["base", "tuned"], "how": "slerp", "t": "{part}"},
        {"assert": "layer_.*", "count": "{count}", "finite": True},
    ]
    script = Script.of({"variables": {"count": 3}, "step": steps})
    assert len(carry_out(script, sources, {"part": 0.5}).edited.tensors) == 4
    with pytest.raises(FormatError, match="step 2: count is 'three', expected int"):
        carry_out(script, sources, {"part": 0.5, "count": "three"})


def test_underscores_stand_for_hyphens():
    text = '[[step]]\ndrop_slots = true\n[[step]]\nassert = "layer_.*"\nfinite = true\n'
    result = carry_out(
        Script.of(tomllib.loads(text)), {"a": Checkpoint.of({"layer_0/w": np.ones(2), "layer_0/w/Adam": np.ones(2)})}
    )
    assert list(result.edited.tensors) == ["layer_0/w"]


def test_parts_layouts_and_foldings_are_steps_too() -> None:
    norm = {"weight": 2.0, "bias": 1.0, "running_mean": 3.0, "running_var": 4.0}
    block = {
        "attn.qkv.weight": np.arange(18.0).reshape(9, 2),
        "conv1.weight": np.ones((1, 3, 1, 1)),
        "fc.weight_g": np.full((1, 1), 5.0),
        "fc.weight_v": np.array([[3.0, 4.0]]),
        **{f"bn1.{part}": np.array([value]) for part, value in norm.items()},
    }
    steps = [
        {"split-parts": ".*qkv=q,k,v"},
        {"assert": "attn", "count": 3, "shape": [3, 2]},
        {"fuse-parts": ".*=q,k,v=>qkv"},
        {"fold-batch-norm": "epsilon=0"},
        {"fold_parametrisations": True},
        {"reduce": "conv1.weight=sum, axis=1"},
        {"layout": "conv1.weight=>conv1/kernel=conv"},
    ]
    carried = carry_out(Script.of({"step": steps}), {"a": Checkpoint.of(block)})
    made = {name: tensor.read().tolist() for name, tensor in carried.edited.tensors.items()}
    assert made["attn.qkv.weight"] == block["attn.qkv.weight"].tolist()
    assert (made["conv1/kernel"], made["fc.weight"]) == ([[[[3.0]]]], [[3.0, 4.0]])
    assert made["conv1.bias"] == [-2.0] and len(made) == 4


def test_a_merge_takes_vocabularies(tmp_path):
    words = {"a": ["the", "cat", "sat"], "b": ["cat", "the"]}
    for name, tokens in words.items():
        (tmp_path / f"{name}.txt").write_text("\n".join(tokens))
    sources = {name: Checkpoint.of({"embed": np.arange(len(own), dtype=float)}) for name, own in words.items()}
    files = [str(tmp_path / f"{name}.txt") for name in words]
    step = {"merge": ["a", "b"], "how": "linear", "vocab": files, "tokens": "last", "vocab-tensors": ["embed"]}
    assert values(carried(sources, step)) == {"embed": [0.5, 0.5]}
    assert values(carried(sources, {**step, "tokens": "all"})) == {"embed": [0.5, 0.5, 2.0]}
    with pytest.raises(PlanError, match="step 1: `vocab` has 1, expected 2"):
        carried(sources, {**step, "vocab": files[:1]})
    with pytest.raises(FormatError, match=r"vocab is .* expected a list of names"):
        carried(sources, {**step, "vocab": [3]})
