"""Sums and means along an axis."""

import ml_dtypes
import numpy as np
import pytest
import torch

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.surgery.edits.reducing import Reduce


def test_a_kernel_for_colours_becomes_one_for_grey() -> None:
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 4, 3)
    ckpt = Checkpoint.of({"conv1.weight": conv.weight.detach().numpy(), "conv1.bias": conv.bias.detach().numpy()})
    grey = torch.nn.Conv2d(1, 4, 3)
    reduced = Reduce.parse("conv1.weight=sum, axis=1").apply(ckpt)
    grey.load_state_dict(
        {name.removeprefix("conv1."): torch.from_numpy(t.read().copy()) for name, t in reduced.items()}
    )
    image = torch.randn(2, 1, 6, 6)
    torch.testing.assert_close(grey(image), conv(image.expand(-1, 3, -1, -1)))


def test_an_axis_may_go_and_narrow_numbers_are_added_wide() -> None:
    values = np.full((2, 300), 1, ml_dtypes.bfloat16)
    found = Reduce.parse("w=sum(axis=1, keep=False)").apply(Checkpoint.of({"w": values}))["w"]
    assert (found.shape, found.dtype.name, found.read().astype(float).tolist()) == ((2,), "bfloat16", [300.0, 300.0])
    assert Reduce.parse("w=mean,axis=-1").apply(Checkpoint.of({"w": values}))["w"].read().tolist() == [[1], [1]]


def test_slots_go_along_as_their_mean_and_averages_as_the_variable() -> None:
    base = np.array([[1.0, 3.0]])
    ckpt = Checkpoint.of(
        {"w": base, "w/Momentum": base, "w/ExponentialMovingAverage": base, "w/local_step": np.array(3)}
    )
    found = {name: tensor.read().tolist() for name, tensor in Reduce.parse("w=sum, axis=1").apply(ckpt).items()}
    assert found == {"w": [[4.0]], "w/Momentum": [[2.0]], "w/ExponentialMovingAverage": [[4.0]], "w/local_step": 3}


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("v=sum", UnknownName, "matches nothing"),
        ("w=sum, axis=2", PlanError, r"w is \[2, 0\]: it has no axis 2"),
        ("w=sum, axis=1", PlanError, r"w is \[2, 0\]: it has no elements along axis 1"),
        ("words=sum", PlanError, "words has string elements, which cannot be reduced"),
        ("bytes=sum, axis=0", CkptError, "bytes: 400 does not fit into uint8"),
        ("w=max, axis=0", UnknownName, "no reduction max; known: sum, mean"),
        ("w=sum, axes=0", UnknownName, "axes"),
        ("w=sum, axis=one", PlanError, "at 'one': expected a number"),
        ("w", PlanError, "expected 'RE=sum, axis=2'"),
    ],
)
def test_what_cannot_be_reduced_is_refused(text: str, error: type[CkptError], message: str) -> None:
    words = {"words": np.array([b"a", b"b"], object), "bytes": np.full(2, 200, np.uint8)}
    with pytest.raises(error, match=message):
        reduced = Reduce.parse(text).apply(Checkpoint.of({"w": np.zeros((2, 0)), **words}))
        [tensor.read() for tensor in reduced.values()]
