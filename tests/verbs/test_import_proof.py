"""Reasons for other outputs of an import: epsilons are named if others explain most of the difference.

The outputs are invented here; `tests/cases/test_batch_norm_epsilon.py` has networks.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.tensors import Array
from ckpttool.foreign.epsilons import EpsilonGap
from ckpttool.foreign.fitting import Pair
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph.core import Graph
from ckpttool.layouts.norm import BatchNorm
from ckpttool.model.model import Model
from ckpttool.verbs import import_proof
from ckpttool.verbs.import_proof import ReferenceDiffers, ReferenceProof
from ckpttool.verbs.reference import Difference

LAYOUT = BatchNorm(1e-5, 1e-3)
GAP = EpsilonGap("bn/gamma", "bn/variance", LAYOUT)
PAIR = Pair(("bn.weight", "bn.running_var"), ("bn/gamma", "bn/variance"), LAYOUT)
VALUES = Checkpoint.of({"bn/gamma": np.ones(2, np.float32), "bn/variance": np.full(2, 0.1, np.float32)})
Verdict = Callable[..., tuple[str, ...]]


@pytest.fixture
def verdict(monkeypatch: pytest.MonkeyPatch) -> Verdict:
    """Return the message for a model with these differences, with its own values and with others."""

    def said(before: float, after: float, *, gaps: tuple[EpsilonGap, ...] = (), pairs: Any = ()) -> tuple[str, ...]:
        class Computed:
            def __init__(self, *_: object) -> None:
                self.apart = before

            def set(self, name: str, value: Array) -> None:
                self.apart = after

            def differences(self, tolerance: float) -> list[Difference]:
                equal = self.apart <= tolerance
                return [Difference("bn", "bn:0", (2,), self.apart, self.apart, equal)]

        monkeypatch.setattr(import_proof, "Reference", Computed)
        model = Model(Path("m.ckpt"), Graph(MetaGraphDef(), "m.meta"), VALUES)
        with pytest.raises(ReferenceDiffers) as raised:
            ReferenceProof(Checkpoint.of({}), tolerance=0.125).of(model, gaps, pairs)
        return raised.value.lines

    return said


@pytest.mark.parametrize("given", [{"gaps": (GAP,)}, {"pairs": (PAIR,)}])
@pytest.mark.parametrize(
    ("after", "why"), [(0.125, "which is why"), (0.45, "which is a part of it"), (0.5, None), (0.75, None)]
)
def test_epsilons_are_named_where_others_leave_less_than_half(
    verdict: Verdict, given: Any, after: float, why: str | None
) -> None:
    where, *cause = verdict(1.0, after, **given)
    assert where.startswith("wrong at bn (bn:0): 1.0e+00" if why else "wrong from bn on (bn:0): 1.0e+00")
    assert [why in each for each in cause if why] == [True] * bool(why)
    assert len(cause) == bool(why)


def test_what_makes_it_equal_is_the_cause_however_little_it_was(verdict: Verdict) -> None:
    _, cause = verdict(0.13, 0.12, gaps=(GAP,))
    assert "0.001 in the graph (bn), which is why: transform = 'batch_norm(" in cause


@pytest.mark.parametrize("number", [np.inf, np.nan])
def test_numbers_that_are_none_are_not_put_down_to_epsilons(verdict: Verdict, number: float) -> None:
    for given in ({}, {"gaps": (GAP,)}, {"pairs": (PAIR,)}):
        (where,) = verdict(number, number, **given)
        assert where.startswith("wrong from bn on (bn:0): ")
