"""Adapters extracted from tuned models, and merged again; torch's SVD is the reference."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import ckpttool
from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, ExistingOutput, PlanError, UnknownName
from ckpttool.surgery.edits.steps import Step, apply
from ckpttool.verbs.extract import plan_extract


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(30, 16)
        self.q_proj = nn.Linear(16, 12)
        self.conv = nn.Conv2d(8, 10, 3)
        self.norm = nn.LayerNorm(12)
        self.still = nn.Linear(4, 4)


@pytest.fixture
def models(tmp_path: Path) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A base and a tuned model: changes of rank 3 and a little noise."""
    torch.manual_seed(0)
    base = Net().state_dict()
    tuned = {name: tensor.clone() for name, tensor in base.items()}
    for name in ("embed.weight", "q_proj.weight", "conv.weight"):
        rows = tuned[name].flatten(1)
        noise = 1e-3 * torch.randn_like(rows)
        tuned[name] += (torch.randn(len(rows), 3) @ torch.randn(3, rows.shape[1]) + noise).view_as(tuned[name])
    save_file(base, tmp_path / "base.safetensors")
    save_file(tuned, tmp_path / "matrices.safetensors")
    tuned["q_proj.bias"] += 1
    tuned["norm.weight"] += 1
    save_file(tuned, tmp_path / "tuned.safetensors")
    return base, tuned


def test_factors_are_those_of_the_truncated_svd_and_say_their_error(tmp_path: Path, models: tuple) -> None:
    base, tuned = models
    plan = plan_extract(tmp_path / "base.safetensors", tmp_path / "matrices.safetensors", rank=2)
    assert {row.name: (row.rank, row.of) for row in plan.rows} == {
        "embed.weight": (2, 16), "q_proj.weight": (2, 12), "conv.weight": (2, 10),
    }  # fmt: skip
    plan.write(tmp_path / "adapter")
    folded = apply(checkpoint.open(tmp_path / "base.safetensors"), [Step("fold-adapter", str(tmp_path / "adapter"))])
    for row in plan.rows:
        change = (tuned[row.name] - base[row.name]).double().flatten(1)
        left, values, right = torch.linalg.svd(change, full_matrices=False)
        expected = base[row.name].double().flatten(1) + left[:, :2] * values[:2] @ right[:2]
        found = torch.from_numpy(folded.tensors[row.name].read()).flatten(1)
        torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-6)
        assert row.error == pytest.approx(float(values[2:].norm() / values.norm()), rel=1e-4)
        shares = (values**2).cumsum(0) / (values**2).sum()
        assert row.enough == int((shares < 0.99).sum()) + 1


def test_the_rank_that_would_do_gives_the_tuned_model(tmp_path: Path, models: tuple) -> None:
    _, tuned = models
    paths = tmp_path / "base.safetensors", tmp_path / "tuned.safetensors"
    made = ckpttool.extract(*paths, tmp_path / "adapter.safetensors", energy=0.99999, whole=True)
    assert [row.rank for row in made.rows if row.rank] == [3, 3, 3]
    assert "errors of at most 0.0" in made.done
    assert made.notes == ["4 tensors are the same in both"]
    folded = apply(checkpoint.open(paths[0]), [Step("fold-adapter", str(tmp_path / "adapter.safetensors"))]).tensors
    for name, tensor in tuned.items():
        np.testing.assert_allclose(folded[name].read(), tensor.numpy(), atol=6e-3)
    for name in ("q_proj.bias", "norm.weight", "norm.bias"):
        np.testing.assert_array_equal(folded[name].read(), tuned[name].numpy())


def test_names_and_configuration_are_those_of_peft(tmp_path: Path, models: tuple) -> None:
    paths = tmp_path / "base.safetensors", tmp_path / "tuned.safetensors"
    ckpttool.extract(*paths, tmp_path / "adapter", whole=True, energy=0.9)
    root = "base_model.model."
    assert {*load_file(tmp_path / "adapter" / "adapter_model.safetensors")} == {
        f"{root}embed.lora_embedding_A", f"{root}embed.lora_embedding_B",
        f"{root}q_proj.lora_A.weight", f"{root}q_proj.lora_B.weight", f"{root}q_proj.base_layer.bias",
        f"{root}conv.lora_A.weight", f"{root}conv.lora_B.weight", f"{root}norm.weight", f"{root}norm.bias",
    }  # fmt: skip
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["bias"]) == ("LORA", config["lora_alpha"], "all")
    assert {*config["target_modules"]} == {"embed", "q_proj", "conv"} and config["modules_to_save"] == ["norm"]
    assert config["rank_pattern"] == config["alpha_pattern"]


def test_kernels_of_tensorflow_go_the_same_way(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    base = {"dnn/fc/kernel": draw.normal(size=(6, 6)), "conv/kernel": draw.normal(size=(3, 3, 4, 5))}
    change = {
        "dnn/fc/kernel": np.outer(np.arange(6), np.ones(6)),
        "conv/kernel": draw.normal(size=(3, 3, 4, 1)) * np.arange(5),
    }
    tuned = {name: array + change[name] for name, array in base.items()}
    for name, arrays in (("base", base), ("tuned", tuned)):
        checkpoint.save({key: array.astype(np.float32) for key, array in arrays.items()}, tmp_path / f"{name}.ckpt")
    for output in ("adapter", "adapter.safetensors"):
        made = ckpttool.extract(tmp_path / "base.ckpt", tmp_path / "tuned.ckpt", tmp_path / output)
        assert [row.rank for row in made.rows] == [1, 1]
        folded = apply(checkpoint.open(tmp_path / "base.ckpt"), [Step("fold-adapter", str(tmp_path / output))]).tensors
        for name, array in tuned.items():
            np.testing.assert_allclose(folded[name].read(), array, atol=1e-5)
    shapes = {name: tensor.shape for name, tensor in checkpoint.open(tmp_path / "adapter.safetensors").items()}
    assert shapes["base_model.model.conv/kernel.lora_A.weight"] == (1, 4, 3, 3)


def test_what_an_adapter_does_not_hold_is_refused_or_said(tmp_path: Path, models: tuple) -> None:
    base = tmp_path / "base.safetensors"
    with pytest.raises(PlanError, match=r"2 tensors that moved are not matrices: norm.weight, q_proj.bias; `who"):
        plan_extract(base, tmp_path / "tuned.safetensors")
    plan = plan_extract(base, tmp_path / "tuned.safetensors", lenient=True)
    assert plan.notes[0] == "skipped: norm.weight, q_proj.bias"
    tuned = load_file(tmp_path / "matrices.safetensors")
    save_file({**tuned, "more.weight": torch.ones(2, 2)}, tmp_path / "more.safetensors")
    with pytest.raises(PlanError, match=r"more.weight is only in the tuned model; `lenient` omits"):
        plan_extract(base, tmp_path / "more.safetensors", whole=True)
    assert (
        "skipped: more.weight is only in the tuned model"
        in plan_extract(base, tmp_path / "more.safetensors", lenient=True).notes
    )
    save_file({**tuned, "conv.weight": torch.ones(2, 2)}, tmp_path / "shape.safetensors")
    with pytest.raises(PlanError, match=r"conv.weight is \[10, 8, 3, 3\] in the base, \[2, 2\] in the tuned"):
        plan_extract(base, tmp_path / "shape.safetensors")
    tuned["conv.weight"][0, 0, 0, 0] = torch.nan
    save_file(tuned, tmp_path / "nan.safetensors")
    with pytest.raises(PlanError, match=r"conv.weight: the change contains NaN or infinities"):
        plan_extract(base, tmp_path / "nan.safetensors")
    with pytest.raises(PlanError, match="no matrix is another one than in"):
        plan_extract(base, base)
    with pytest.raises(UnknownName, match="'nothing' matches nothing"):
        plan_extract(base, base, layers="nothing")
    tuned["conv.weight"] = torch.full((10, 8, 3, 3), 1e300, dtype=torch.float64)
    save_file(tuned, tmp_path / "huge.safetensors")
    with pytest.raises(PlanError, match=r"conv.weight: the change contains numbers whose squares exceed float64"):
        plan_extract(base, tmp_path / "huge.safetensors")


def test_outputs_are_whole_or_not_there(tmp_path: Path, models: tuple) -> None:
    plan = plan_extract(tmp_path / "base.safetensors", tmp_path / "matrices.safetensors", rank=1)
    plan.write(tmp_path / "adapter")
    with pytest.raises(ExistingOutput):
        plan.write(tmp_path / "adapter")
    plan.write(tmp_path / "adapter", overwrite=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(CkptError, match="not a folder of this kind"):
        plan.write(tmp_path / "other", overwrite=True)


def test_ranks_of_their_own_stand_in_patterns_and_count_as_they_are(tmp_path: Path) -> None:
    """A layer whose name ends like another's, with another rank."""
    torch.manual_seed(0)
    ranks = {"fc": 1, "block.fc": 3, "block.block.fc": 1, "out": 1}
    base = {f"{name}.weight": torch.randn(8, 8) for name in ranks}
    tuned = {
        key: base[key] + torch.randn(8, rank) @ torch.randn(rank, 8)
        for key, rank in zip(base, ranks.values(), strict=True)
    }
    save_file(base, tmp_path / "base.safetensors")
    save_file(tuned, tmp_path / "tuned.safetensors")
    ckpttool.extract(tmp_path / "base.safetensors", tmp_path / "tuned.safetensors", tmp_path / "ad", energy=1 - 1e-9)
    config = json.loads((tmp_path / "ad" / "adapter_config.json").read_text())
    assert config["r"] == 1 and list(config["rank_pattern"].items()) == [("block.block.fc", 1), ("block.fc", 3)]
    folded = apply(checkpoint.open(tmp_path / "base.safetensors"), [Step("fold-adapter", str(tmp_path / "ad"))]).tensors
    for name, tensor in tuned.items():
        np.testing.assert_allclose(folded[name].read(), tensor.numpy(), atol=1e-5)


def test_kernels_with_their_inputs_first_are_told_by_their_biases(tmp_path: Path) -> None:
    torch.manual_seed(0)
    base = {"c_attn.weight": torch.randn(4, 12), "c_attn.bias": torch.randn(12), "c_proj.weight": torch.randn(4, 4)}
    save_file(base, tmp_path / "base.safetensors")
    save_file({**base, **{name: base[name] + 1 for name in base if "weight" in name}}, tmp_path / "tuned.safetensors")
    plan = plan_extract(tmp_path / "base.safetensors", tmp_path / "tuned.safetensors")
    assert plan.config["fan_in_fan_out"] is True
    assert plan.tensors["base_model.model.c_attn.lora_A.weight"].shape == (1, 4)
    mixed = {**base, "fc.weight": torch.randn(6, 4), "fc.bias": torch.randn(6)}
    save_file(mixed, tmp_path / "base.safetensors")
    save_file(
        {**mixed, **{name: mixed[name] + 1 for name in mixed if "weight" in name}}, tmp_path / "tuned.safetensors"
    )
    with pytest.raises(PlanError, match=r"by its bias c_attn.weight has its inputs first, fc.weight its outputs"):
        plan_extract(tmp_path / "base.safetensors", tmp_path / "tuned.safetensors")


def test_a_large_change_of_low_rank_is_found_from_a_few_directions(tmp_path: Path) -> None:
    """And one of full rank by the complete decomposition."""
    torch.manual_seed(0)
    base = {"low.weight": torch.zeros(300, 320), "full.weight": torch.zeros(300, 320)}
    low = torch.randn(300, 5).double() @ torch.randn(5, 320).double()
    tuned = {"low.weight": low.float(), "full.weight": torch.randn(300, 320)}
    save_file(base, tmp_path / "base.safetensors")
    save_file(tuned, tmp_path / "tuned.safetensors")
    rows = plan_extract(tmp_path / "base.safetensors", tmp_path / "tuned.safetensors", energy=0.999).rows
    for row in rows:
        values = torch.linalg.svdvals(tuned[row.name].double())
        shares = (values**2).cumsum(0) / (values**2).sum()
        assert (row.enough, row.of) == (int((shares < 0.999).sum()) + 1, 300)
        assert row.error == pytest.approx(float(values[row.rank :].norm() / values.norm()), rel=1e-3, abs=1e-5)
