"""Merging by names, compared with plain dicts; the options of each method; mismatches."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.surgery.merge import merge, plan_merge

NAMES = st.sets(st.sampled_from(["a", "b/c", "b/d", "global_step"]), min_size=1)
PARTS = st.lists(NAMES, min_size=2, max_size=4)


def dicts(parts: list[set[str]]) -> list[dict[str, Any]]:
    """Dicts whose arrays contain their number."""
    return [{name: np.full(2, number, np.float32) for name in sorted(part)} for number, part in enumerate(parts)]


def values(ckpt: Checkpoint) -> dict[str, Any]:
    return {name: tensor.read().tolist() for name, tensor in ckpt.items()}


def plain(arrays: dict[str, Any]) -> dict[str, Any]:
    return {name: array.tolist() for name, array in arrays.items()}


@given(PARTS, st.sampled_from(["first", "last", None]))
def test_a_union_is_that_of_dicts(parts: list[set[str]], prefer: Any) -> None:
    models, union = dicts(parts), {}
    for arrays in models if prefer == "last" else reversed(models):
        union |= arrays
    checkpoints = [Checkpoint.of(arrays) for arrays in models]
    if prefer is None and sum(map(len, parts)) > len(union):
        with pytest.raises(PlanError, match="; `prefer` specifies which to use"):
            merge(checkpoints)
        return
    assert values(merge(checkpoints, prefer=prefer)) == plain(union)


@given(PARTS, st.sampled_from(["first", "last", None]))
def test_an_intersection_is_that_of_dicts(parts: list[set[str]], prefer: Any) -> None:
    models, common = dicts(parts), set.intersection(*parts)
    owner = models[-1 if prefer == "last" else 0]
    checkpoints = [Checkpoint.of(arrays) for arrays in models]
    if not common:
        with pytest.raises(PlanError, match="no tensor is in all checkpoints"):
            merge(checkpoints, "intersection", prefer=prefer)
        return
    found = merge(checkpoints, "intersection", prefer=prefer)
    assert values(found) == {name: owner[name].tolist() for name in common}


def test_a_name_that_two_have_is_said_with_both() -> None:
    one, two = Checkpoint.of({"a": np.zeros(1), "b": np.zeros(1)}), Checkpoint.of({"b": np.ones(1)})
    with pytest.raises(PlanError) as caught:
        merge([one, two])
    assert str(caught.value) == "b is in checkpoint 1 and checkpoint 2; `prefer` specifies which to use"
    assert plan_merge([one, two], prefer="last").rows[1]["then"] == "from checkpoint 2"


def test_object_graphs_are_left_out_of_a_union_and_this_is_said() -> None:
    graph = {OBJECT_GRAPH: np.array(b"", object)}
    plan = plan_merge([Checkpoint.of({"a": np.zeros(1)} | graph), Checkpoint.of({"b": np.zeros(1)} | graph)])
    assert list(plan.tensors) == ["a", "b"]
    assert plan.notes == ("skipped: the object graphs, as each is of one checkpoint",)


def test_what_is_no_weight_is_the_last_ones_and_never_the_bases() -> None:
    def of(number: int) -> Checkpoint:
        return Checkpoint.of(
            {"w": np.full(2, float(number)), "global_step": np.array(number), "ids": np.array([number])}
        )

    for how in ("ties", "dare"):
        found = values(merge([of(2), of(3)], how, base=of(1), density=1.0))
        assert (found["global_step"], found["ids"], list(found)) == (3, [3], ["w", "global_step", "ids"])
    assert values(merge([of(1), of(3)], "linear")) == {"w": [2.0, 2.0], "global_step": 3, "ids": [3]}
    assert values(merge([of(1), of(3)], "slerp"))["global_step"] == 3


def test_a_base_of_another_shape_is_named() -> None:
    base, model = Checkpoint.of({"w": np.zeros(3)}), Checkpoint.of({"w": np.zeros(2)})
    with pytest.raises(PlanError, match=r"w is float64 \[3\] in checkpoint 1, float64 \[2\] in checkpoint 2"):
        merge([model, model], "ties", base=base)


MODEL = Checkpoint.of({"w": np.zeros(2)})


@pytest.mark.parametrize(
    ("how", "options", "why"),
    [
        ("mean", {}, "unknown method 'mean'; known: union, intersection, linear, sum, task-arithmetic"),
        ("union", {"t": 0.5}, "`t` does not apply to union; its parameters are `prefer`"),
        ("union", {"base": MODEL}, "`base` does not apply to union"),
        ("linear", {"prefer": "first"}, "`prefer` does not apply to linear; its parameters are `weights`"),
        ("arcee-fusion", {"base": MODEL}, "`base` does not apply to arcee-fusion, which has no parameters$"),
        ("slerp", {"weights": (1.0, 1.0)}, "`weights` does not apply to slerp; its parameters are `t`"),
        ("slerp", {"t": 1.5}, "`t` 1.5: expected a number from 0 to 1$"),
        ("slerp", {"t": float("nan")}, "`t` nan: expected a number from 0 to 1"),
        ("ties", {}, "ties needs `base`, the checkpoint that the others were trained from"),
        ("ties", {"base": MODEL, "seed": 1}, "`seed` does not apply to ties"),
        ("dare", {"base": MODEL, "density": 0.0}, "`density` 0: expected .* 0 to 1, and not 0"),
        ("ties", {"base": MODEL, "weights": (1.0,)}, "`weights` has 1 number, expected one for each"),
    ],
)
def test_an_option_that_does_not_fit(how: str, options: Any, why: str) -> None:
    with pytest.raises(PlanError, match=why):
        merge([MODEL, MODEL], how, **options)


@pytest.mark.parametrize("how", ["union", "intersection", "linear", "slerp"])
def test_one_alone_is_not_merged(how: str) -> None:
    with pytest.raises(PlanError, match=r"not 1|1 checkpoint, expected two or more"):
        merge([MODEL], how)


def test_slerp_is_between_two() -> None:
    with pytest.raises(PlanError, match="slerp merges 2 checkpoints, not 3"):
        merge([MODEL] * 3, "slerp")


@pytest.mark.parametrize(("prefer", "kept"), [(None, "a"), ("first", "a"), ("last", "b")])
@pytest.mark.parametrize("how", ["union", "intersection"])
def test_what_is_chosen_by_names_keeps_texts_and_says_what_is_no_tensor(how: Any, prefer: Any, kept: str) -> None:
    shared = {} if how == "union" and prefer is None else {"x": np.zeros(1)}
    a = Checkpoint(
        Checkpoint.of({**shared, "y": np.zeros(1)}), metadata={"format": "a", "one": "1"}, left_out=("state",)
    )
    b = Checkpoint(Checkpoint.of({**shared, "z": np.zeros(1), "w": np.zeros(1)}), metadata={"format": "b"})
    found = merge([a, b], how, prefer=prefer)
    assert found.metadata["format"] == kept
    assert found.left_out == ("state",)
