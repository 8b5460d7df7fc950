"""Edits in any order, compared with the same ones on a plain dict of NumPy arrays."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError
from ckpttool.surgery.edits.steps import Step, apply

Arrays = dict[str, Any]
SLOT = "/Momentum"


class Refused(Exception):
    """What a dict would reject too."""


def start() -> Arrays:
    draw = np.random.default_rng(3)
    shapes = {"a/kernel": (2, 3), "a/bias": (3,), "b/kernel": (3, 2), "b/bias": (2,)}
    values = {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    slots = {name + SLOT: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    return {**values, **slots, "global_step": np.array(7, np.int64)}


def is_slot(name: str) -> bool:
    return name.endswith(SLOT)


def is_step(name: str) -> bool:
    return name.endswith("global_step")


def matching(arrays: Arrays, pattern: str) -> list[str]:
    found = [name for name in arrays if re.fullmatch(f"(?:{pattern})(?:/.*)?", name)]
    if not found:
        raise Refused
    return found


def weights(arrays: Arrays, pattern: str = ".*") -> list[str]:
    found = [name for name in matching(arrays, pattern) if not is_slot(name) and not is_step(name)]
    if not found:
        raise Refused
    return found


def each(
    arrays: Arrays, pattern: str, change: Callable[[Any], Any], slot: Callable[[Any], Any] | None = None
) -> Arrays:
    """Change the weights that a pattern matches, and their slots, possibly in another way."""
    names = weights(arrays, pattern)
    new = {name: change(arrays[name]) for name in names}
    new |= {name + SLOT: (slot or change)(arrays[name + SLOT]) for name in names if name + SLOT in arrays}
    return {name: new.get(name, array) for name, array in arrays.items()}


def renamed(arrays: Arrays, new: Callable[[str], str]) -> Arrays:
    found = {new(name): array for name, array in arrays.items()}
    if len(found) < len(arrays):
        raise Refused
    return found


def rename(arrays: Arrays, old: str, new: str) -> Arrays:
    if not any(name.startswith(f"{old}/") for name in arrays):
        raise Refused
    return renamed(arrays, lambda name: re.sub(f"^{old}/", f"{new}/", name))


def strip(arrays: Arrays) -> Arrays:
    if not arrays or not all(name.startswith("p/") for name in arrays):
        raise Refused
    return renamed(arrays, lambda name: name[2:])


def drop_slots(arrays: Arrays) -> Arrays:
    kept = {name: array for name, array in arrays.items() if not is_slot(name)}
    if len(kept) == len(arrays):
        raise Refused
    return kept


def only(arrays: Arrays, kept: Callable[[str], bool]) -> Arrays:
    return {name: array for name, array in arrays.items() if kept(name)}


def cast(arrays: Arrays, dtype: str) -> Arrays:
    names = [name for name in arrays if not is_slot(name) and not is_step(name)]
    if not names:
        raise Refused
    return {name: array.astype(dtype) if name in names else array for name, array in arrays.items()}


def transpose(array: Any) -> Any:
    if array.ndim != 2:
        raise Refused
    return array.T


def cut(array: Any) -> Any:
    if array.shape[0] < 2:
        raise Refused
    return array[1:]


def resize(arrays: Arrays, pattern: str, to: int) -> Arrays:
    """Grow the last axis with zeros, and extend the bias of a kernel too."""
    names = weights(arrays, pattern)
    for name in list(names):
        scope = name.rpartition("/")[0]
        mates = [bias for bias in weights(arrays) if bias.rpartition("/")[0] == scope and arrays[bias].ndim == 1]
        if arrays[name].ndim > 1:
            names += [bias for bias in mates if arrays[bias].shape == arrays[name].shape[-1:]]
    if any(arrays[name].shape[-1] > to for name in names):
        raise Refused
    slots = [name + SLOT for name in names if name + SLOT in arrays]
    widths = {
        name: [(0, 0)] * (arrays[name].ndim - 1) + [(0, to - arrays[name].shape[-1])] for name in [*names, *slots]
    }
    return {name: np.pad(array, widths[name]) if name in widths else array for name, array in arrays.items()}


def prune(arrays: Arrays, pattern: str) -> Arrays:
    names = weights(arrays, pattern)
    return {name: smallest(array) if name in names else array for name, array in arrays.items()}


def smallest(array: Any) -> Any:
    """Set the smaller half to zero, element by element."""
    new = array.copy().reshape(-1)
    for place in np.argsort(np.abs(new), kind="stable")[: int(0.5 * new.size)]:
        new[place] = 0
    return new.reshape(array.shape)


def fill(arrays: Arrays, name: str) -> Arrays:
    if name not in arrays:
        raise Refused
    return {each: np.full_like(array, 3) if each == name else array for each, array in arrays.items()}


PATTERNS = ["a", "b", "[ab]", ".*", ".*/kernel", "a/bias", "p/a", "c"]
SCOPES = ["a", "b", "c"]


def patterned(edit: str, value: str, change: Callable[[Any], Any], slot: Callable[[Any], Any] | None = None) -> Any:
    def one(pattern: str) -> Any:
        return Step(edit, f"{pattern}={value}"), lambda arrays: each(arrays, pattern, change, slot)

    return st.sampled_from(PATTERNS).map(one)


def keeping(pattern: str) -> Any:
    return Step("keep", pattern), lambda arrays: only(arrays, set(matching(arrays, pattern)).__contains__)


def dropping(pattern: str) -> Any:
    return Step("drop", pattern), lambda arrays: only(
        arrays, set(arrays).difference(matching(arrays, pattern)).__contains__
    )


EDITS = st.one_of(
    st.sampled_from(PATTERNS).map(keeping),
    st.sampled_from(PATTERNS).map(dropping),
    st.just((Step("drop-slots"), drop_slots)),
    st.tuples(st.sampled_from(SCOPES), st.sampled_from(SCOPES)).map(
        lambda pair: (Step("rename", "=>".join(pair)), lambda arrays: rename(arrays, *pair))
    ),
    st.just((Step("add-prefix", "p"), lambda arrays: renamed(arrays, lambda name: f"p/{name}"))),
    st.just((Step("strip-prefix", "p/"), strip)),
    st.sampled_from(["float16", "float64"]).map(lambda dtype: (Step("cast", dtype), lambda a: cast(a, dtype))),
    patterned("transpose", "1,0", transpose),
    patterned("reshape", "-1", lambda array: array.reshape(-1)),
    patterned("slice", "0:1:", cut),
    patterned(
        "pad", "-1:1,0:2",
        lambda array: np.pad(array, [(0, 0)] * (array.ndim - 1) + [(1, 0)], constant_values=2),
        lambda array: np.pad(array, [(0, 0)] * (array.ndim - 1) + [(1, 0)]),
    ),
    st.tuples(st.sampled_from(PATTERNS), st.integers(3, 5)).map(
        lambda pair: (Step("resize", f"{pair[0]} = to({pair[1]}, axis=-1, fill=zeros)"), lambda a: resize(a, *pair))
    ),
    st.sampled_from(PATTERNS).map(lambda p: (Step("prune", f"{p}=0.5"), lambda a: prune(a, p))),
    st.sampled_from(["a/bias", "b/kernel/Momentum", "p/global_step"]).map(
        lambda name: (Step("set", f"{name}=3"), lambda a: fill(a, name))
    ),
)  # fmt: skip


def edited(edits: Any) -> tuple[Checkpoint, Arrays, list[Step]]:
    """Return a checkpoint and a dict after the edits that neither rejects, and these; rejections must agree."""
    expected, found, accepted = start(), Checkpoint.of(start()), []
    for step, change in edits:
        try:
            wanted = change(expected)
        except Refused:
            wanted = None
        try:
            after = apply(found, [step]).tensors
        except CkptError:
            assert wanted is None, step
            continue
        assert wanted is not None, step
        expected, found = wanted, after
        accepted.append(step)
    return found, expected, accepted


@settings(deadline=None, max_examples=100)
@given(st.lists(EDITS, min_size=1, max_size=6))
def test_a_checkpoint_is_edited_as_a_dict_is(edits: Any) -> None:
    found, expected, accepted = edited(edits)
    assert arrays_of(found) == arrays_of(apply(Checkpoint.of(start()), accepted).tensors) == plain(expected)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint.save(found, Path(folder) / "edited.ckpt")
        assert arrays_of(checkpoint.open(Path(folder) / "edited.ckpt")) == plain(expected)


def whole(array: Any) -> tuple[Any, Any]:
    """Return the integers of an array, and their scale."""
    scale = np.float32(np.abs(array.astype(np.float64)).max(initial=0) / 127) or np.float32(1)
    return np.rint(array.astype(np.float64) / scale).astype(np.int8), np.asarray(scale)


@settings(deadline=None, max_examples=50)
@given(st.lists(EDITS, max_size=4), st.sampled_from(PATTERNS))
def test_what_is_edited_is_quantised_and_comes_back_as_a_dict_does(edits: Any, pattern: str) -> None:
    found, arrays, _ = edited(edits)
    try:
        pairs = {name: whole(arrays[name]) for name in weights(arrays, pattern)}
    except Refused:
        return
    small = apply(found, [Step("quantise", f"{pattern}=int8")]).tensors
    integers = {name: pair[0] for name, pair in pairs.items()}
    scales = {f"{name}/scale": pair[1] for name, pair in pairs.items()}
    assert arrays_of(small) == plain(arrays | integers | scales)
    floats = {name: (pair[0].astype(np.float32) * pair[1]).astype(np.float16) for name, pair in pairs.items()}
    assert arrays_of(apply(small, [Step("dequantise", "float16")]).tensors) == plain(arrays | floats)


def arrays_of(ckpt: Checkpoint) -> Any:
    return plain({name: tensor.read() for name, tensor in ckpt.items()})


def plain(arrays: Arrays) -> Any:
    return {name: (str(array.dtype), array.shape, array.tolist()) for name, array in arrays.items()}
