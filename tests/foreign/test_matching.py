"""Matching of tensors with variables, and the number of comparisons."""

import pytest

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.dtypes import BY_NAME
from ckpttool.foreign.evidence import Evidence
from ckpttool.foreign.matching import NAMES, NUMBERS, Matching
from ckpttool.foreign.readers import Reading
from ckpttool.graph.contents.stored import StoredTensor
from ckpttool.layouts.dense import Dense


def matching(sources: list[str], targets: list[str]) -> Matching:
    """Tensors and variables that all fit one another."""
    stored = {name: StoredTensor(name, (2, 3), BY_NAME["float32"], ()) for name in targets}
    readings, evidence = dict.fromkeys(targets, Reading(Dense())), Evidence(Checkpoint({}))
    return Matching(
        dict.fromkeys(sources, (3, 2)), stored, readings, evidence, is_sorted=False, chained=lambda names: False
    )


def test_that_many_layers_are_alike_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    fits = Matching.fits
    monkeypatch.setattr(Matching, "fits", lambda *args: asked.append(args) or fits(*args))
    result = matching(
        [f"block.{number}.fc.weight" for number in range(2000)], [f"block/{number}/fc/kernel" for number in range(2000)]
    )
    result.run()
    assert result.pairs == {f"block/{n}/fc/kernel": (f"block.{n}.fc.weight", NAMES) for n in range(2000)}
    assert len(asked) == 2000  # each variable is compared with all tensors at once


def test_the_longest_common_ending_tells_if_no_other_is_as_long() -> None:
    result = matching(["a.q.weight", "b.q.weight", "b.k.weight"], ["x/a/q/kernel", "y/b/q/kernel", "k/kernel"])
    result.run()
    assert {target: source for target, (source, _) in result.pairs.items()} == {
        "x/a/q/kernel": "a.q.weight",
        "y/b/q/kernel": "b.q.weight",
        "k/kernel": "b.k.weight",
    }


def test_many_names_with_one_ending_are_told_by_their_numbers() -> None:
    count = 2000
    result = matching(
        [f"layer.{number}.attention.fc.weight" for number in reversed(range(count))],
        [f"block_{number}/Attention_1/fc/kernel" for number in range(count)],
    )
    result.run()
    assert result.pairs == {
        f"block_{number}/Attention_1/fc/kernel": (f"layer.{number}.attention.fc.weight", NUMBERS)
        for number in range(count)
    }
