"""Square kernels, whose shapes are ambiguous: a reference shows which were transposed."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.runtime.recipe import Recipe
from ckpttool.verbs.import_weights import plan_import
from ckpttool.verbs.new import new

NAMES = ["a", "b", "c"]


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three dense layers of four units."""
    path = tmp_path_factory.mktemp("square") / "square.ckpt"
    new([4], "a = dense(4, tanh); b = dense(4, tanh); c = dense(4)", path, recipe=Recipe())
    return Path(f"{path}.meta")


def made(folder: Path, turned: str, shown: list[str]) -> tuple[Path, Path]:
    """Weights, some of whose kernels are transposed, and a reference with the outputs of some layers."""
    random = np.random.default_rng(3)
    kernels = {name: random.normal(size=(4, 4)).astype(np.float32) for name in NAMES}
    biases = {name: random.normal(size=4).astype(np.float32) for name in NAMES}
    value = rows = random.normal(size=(6, 4)).astype(np.float32)
    computed = {}
    for name in NAMES:
        value = value @ kernels[name] + biases[name]
        value = computed[name] = value if name == "c" else np.tanh(value)
    stored = {f"{name}/kernel": kernels[name].T if name in turned else kernels[name] for name in NAMES}
    np.savez(folder / "w.npz", **stored, **{f"{name}/bias": bias for name, bias in biases.items()})
    np.savez(folder / "s.npz", X=rows, **{name: computed[name] for name in shown})
    return folder / "w.npz", folder / "s.npz"


@pytest.mark.parametrize("turned", ["", "a", "b", "ac", "abc"])
@pytest.mark.parametrize("shown", [["a", "b", "c"], ["b", "c"], ["c"]])
def test_the_sample_tells_which_kernels_were_turned(graph: Path, tmp_path: Path, turned: str, shown: list[str]) -> None:
    weights, reference = made(tmp_path, turned, shown)
    planned = plan_import(weights, graph, reference=reference)
    told = [f"{name}/kernel: {'dense' if name in turned else 'keep'}, as the reference tells" for name in NAMES]
    assert [note for note in planned.notes if "reference" in note] == told
    planned.write(tmp_path / "out.ckpt")
    stored, found = np.load(weights), checkpoint.open(tmp_path / "out.ckpt")
    for name in NAMES:
        kernel = stored[f"{name}/kernel"]
        assert np.array_equal(found[f"{name}/kernel"].read(), kernel.T if name in turned else kernel)


def test_a_sample_that_ends_too_early_tells_not_all(graph: Path, tmp_path: Path) -> None:
    weights, reference = made(tmp_path, "a", ["a", "b"])
    with pytest.raises(
        PlanError, match="the reference does not tell how c/kernel lie: a rule has to specify `transform`"
    ):
        plan_import(weights, graph, reference=reference)


def test_what_a_rule_says_is_not_tried(graph: Path, tmp_path: Path) -> None:
    from ckpttool.foreign.rules import Rule

    weights, reference = made(tmp_path, "abc", ["c"])
    planned = plan_import(
        weights, graph, rules=[Rule("(.*)/kernel", r"\1/kernel", transform="dense")], reference=reference
    )
    assert [note for note in planned.notes if "reference" in note] == []


def test_weights_that_fit_no_way_are_not_settled(graph: Path, tmp_path: Path) -> None:
    weights, reference = made(tmp_path, "", ["a", "b", "c"])
    stored: dict[str, Any] = dict(np.load(weights))
    np.savez(weights, **{**stored, "a/bias": stored["a/bias"] + 1})
    with pytest.raises(PlanError, match="the reference does not tell how a/kernel, b/kernel, c/kernel lie"):
        plan_import(weights, graph, reference=reference)
