"""The step `like`: weights are converted to another framework's names and layouts in a plan, between edits."""

from pathlib import Path

import numpy as np
import pytest

import ckpttool
from ckpttool import checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.verbs.apply import plan_apply
from ckpttool.verbs.log import History

MODEL = Path(__file__).parents[2] / "fixtures" / "my_model_final.ckpt"
LIKE = {"on": "weights", "like": "model"}


@pytest.fixture
def torch_file(tmp_path):
    """The fixture's network with PyTorch's names and layouts; 50 by 50 kernels fit either way."""
    draw = np.random.default_rng(0)
    names = {name: tensor.shape for name, tensor in checkpoint.open(MODEL).items()}
    values = {
        name.replace("/kernel", ".weight").replace("/", "."): draw.normal(size=shape[::-1]).astype("f")
        for name, shape in names.items()
    }
    checkpoint.save(values, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def plan(*steps):
    return {"sources": ["model", "weights"], "step": list(steps)}


def test_there_between_edits_with_the_graph_and_a_lineage(torch_file, tmp_path):
    steps = plan(
        {"on": "weights", "add-prefix": "net"},
        {"strip-prefix": "net"},
        {"scale": "hidden4.weight=2"},
        LIKE,
        {"assert": "hidden4/kernel", "shape": [50, 50]},
        {"average": ["model", "weights"]},
    )
    done = ckpttool.apply(steps, [MODEL, torch_file], tmp_path / "out.ckpt")
    own, other = checkpoint.open(MODEL)["hidden4/kernel"].read(), checkpoint.open(torch_file)["hidden4.weight"].read()
    made = checkpoint.open(tmp_path / "out.ckpt")
    np.testing.assert_allclose(made["hidden4/kernel"].read(), (own + 2 * other.T) / 2, rtol=1e-6)
    assert (tmp_path / "out.ckpt.meta").exists()
    assert [row.step for row in done.rows][3] == "like model"
    (record,) = History.of(tmp_path / "out.ckpt").chain.records
    assert record.steps[-3:] == ("like model", "assert hidden4/kernel", "average model,weights")
    again = ckpttool.apply(History.of(tmp_path / "out.ckpt").plan(), [], tmp_path / "again.ckpt")
    assert again.rows[3].step == "like b"
    assert ckpttool.diff(tmp_path / "out.ckpt", tmp_path / "again.ckpt").equal


def test_back_with_what_edits_made(torch_file):
    steps = plan({"on": "model", "scale": "hidden4/kernel=3"}, {"like": "weights"}, {"drop": "hidden1.*"})
    made = plan_apply(steps, sources=[MODEL, torch_file]).tensors
    own = checkpoint.open(MODEL)["hidden4/kernel"].read()
    np.testing.assert_array_equal(made["hidden4.weight"].read(), (3 * own).T)
    assert set(made) == {name for name in checkpoint.open(torch_file) if not name.startswith("hidden1")}


def test_a_conversion_across_is_such_a_step_of_its_lineage(torch_file, tmp_path):
    ckpttool.convert(torch_file, tmp_path / "out.npz", like=MODEL)
    steps = History.of(tmp_path / "out.npz").plan()
    assert steps["step"][0] == {"like": "b"}
    ckpttool.apply(steps, [], tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "out.npz").read_bytes()


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"on": "model", "scale": "hidden1=2"}, LIKE], "step 2: `like` model is not a source as it was opened"),
        ([{"on": "weights", "drop": "hidden4.weight"}, LIKE], r"step 2: .*hidden4/kernel"),
        ([{"on": "model", "rename": "hidden4=>x"}, {"like": "weights"}], r"step 2: .*hidden4/.*edits have renamed"),
        ([{"on": "weights", "like": "modle"}], "step 1: no checkpoint is named modle; nearest: model"),
        ([{"like": "model", "how": "x"}], "step 1: how has no meaning here"),
    ],
)
def test_what_cannot_be_is_refused(torch_file, steps, message):
    with pytest.raises(ckpttool.CkptError, match=message):
        plan_apply(plan(*steps), sources=[MODEL, torch_file])


def test_lenient_leaves_what_has_no_counterpart(torch_file):
    steps = plan({"on": "weights", "drop": "hidden4.*"}, {**LIKE, "lenient": True})
    made = plan_apply(steps, sources=[MODEL, torch_file])
    kept = checkpoint.open(MODEL)["hidden4/kernel"].read()
    np.testing.assert_array_equal(made.tensors["hidden4/kernel"].read(), kept)
    with pytest.raises(PlanError):
        plan_apply(plan({"on": "weights", "drop": "hidden4.*"}, LIKE), sources=[MODEL, torch_file])
