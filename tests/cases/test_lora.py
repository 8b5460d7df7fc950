"""A base model and a LoRA adapter with PEFT's names."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

PROJECTIONS = [f"model.layers.{layer}.self_attn.{part}_proj" for layer in range(2) for part in "qv"]


def factors(down: str, up: str, prefix: str = "base_model.model.") -> dict[str, torch.Tensor]:
    names = {down: (2, 8), up: (8, 2)}
    return {f"{prefix}{stem}.{name}": torch.randn(shape) for stem in PROJECTIONS for name, shape in names.items()}


def make(folder: Path) -> None:
    torch.manual_seed(0)
    base = {f"{stem}.weight": torch.randn(8, 8) for stem in PROJECTIONS} | {"model.embed.weight": torch.randn(11, 8)}
    save_file(base, folder / "base.safetensors", {"format": "pt"})
    (folder / "adapter").mkdir()
    save_file(factors("lora_A.weight", "lora_B.weight"), folder / "adapter" / "adapter_model.safetensors")
    (folder / "adapter" / "adapter_config.json").write_text(json.dumps({"r": 2, "lora_alpha": 4, "peft_type": "LORA"}))


def test_a_union_with_an_adapter_is_refused_and_says_what_it_is(folder: Path, run: Callable[..., str]) -> None:
    said = run("ckpttool merge base.safetensors adapter -o x.safetensors", 2)
    assert "adapter is an adapter (LoRA): its 8 tensors" in said
    assert "`fold-adapter` folds LoRA, DoRA and IA3 into the weights" in said
    assert not (folder / "x.safetensors").exists()
    run("ckpttool merge base.safetensors adapter --lenient -o x.safetensors")
    assert len(load_file(folder / "x.safetensors")) == 5 + 8


def test_the_adapter_is_put_into_the_weights(folder: Path, run: Callable[..., str]) -> None:
    run("ckpttool edit base.safetensors --fold-adapter adapter -o merged.safetensors")
    base, merged = load_file(folder / "base.safetensors"), load_file(folder / "merged.safetensors")
    parts = load_file(folder / "adapter" / "adapter_model.safetensors")
    for stem in PROJECTIONS:
        down, up = (parts[f"base_model.model.{stem}.lora_{x}.weight"] for x in "AB")
        assert torch.allclose(merged[f"{stem}.weight"], base[f"{stem}.weight"] + 4 / 2 * up @ down, atol=1e-6)
    assert torch.equal(merged["model.embed.weight"], base["model.embed.weight"])


@pytest.mark.parametrize(
    ("down", "up", "prefix"),
    [
        ("lora_A.default.weight", "lora_B.default.weight", "base_model.model."),
        ("lora_down.weight", "lora_up.weight", "lora_te_"),
        ("lora.down.weight", "lora.up.weight", "unet."),
        ("hada_w1_a", "hada_w1_b", ""),
    ],
)
@pytest.mark.parametrize("prefer", ["", " --prefer first"])
def test_adapters_of_others(
    folder: Path, run: Callable[..., str], down: str, up: str, prefix: str, prefer: str
) -> None:
    torch.save(factors(down, up, prefix), folder / "other.bin")
    assert "is an adapter" in run(f"ckpttool merge base.safetensors other.bin{prefer} -o x.safetensors", 2)
    assert "is an adapter" in run(f"ckpttool merge other.bin base.safetensors{prefer} -o x.safetensors", 2)


def test_two_adapters_are_joined(folder: Path, run: Callable[[str], str]) -> None:
    save_file(factors("lora_A.weight", "lora_B.weight", "head."), folder / "head.safetensors")
    run("ckpttool merge adapter head.safetensors -o both.safetensors")
    assert len(load_file(folder / "both.safetensors")) == 16


def test_a_model_that_has_an_adapter_in_it_is_a_model(folder: Path, run: Callable[[str], str]) -> None:
    one = {"model.layers.0.self_attn.q_proj.lora_A.weight": torch.ones(2, 8)}
    save_file(load_file(folder / "base.safetensors") | one, folder / "with.safetensors")
    save_file({"head.weight": torch.ones(2)}, folder / "head.safetensors")
    run("ckpttool merge with.safetensors head.safetensors -o out.safetensors")
