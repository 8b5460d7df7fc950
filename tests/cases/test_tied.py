"""A PyTorch language model with a head tied to its embedding, as saved by torch.save and by safetensors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, load_model, save_model

import ckpttool


def language_model(tokens: int = 7, bias: bool = False) -> Any:
    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wte = torch.nn.Embedding(tokens, 4)
            self.lm_head = torch.nn.Linear(4, tokens, bias=bias)
            self.lm_head.weight = self.wte.weight

    torch.manual_seed(0)
    return Model()


def make(folder: Path) -> None:
    torch.save(language_model().state_dict(), folder / "tied.bin")
    save_model(language_model(), str(folder / "tied.safetensors"))
    torch.save(language_model(bias=True).state_dict(), folder / "bias.bin")


@pytest.mark.parametrize(
    "command",
    [
        "convert tied.bin",
        "convert tied.safetensors",
        "convert tied.bin --shard-size 300",
        "average tied.bin tied.safetensors",
        "merge tied.bin tied.bin --how linear",
        "edit tied.bin --cast float64 --cast float32",
        "edit tied.bin --rename 'wte=>embed' --rename 'embed=>wte'",
    ],
)
def test_it_is_written_once_and_loads(folder: Path, run: Callable[..., str], command: str) -> None:
    run(f"ckpttool {command} -o out.safetensors")
    model = language_model()
    expected = model.wte.weight.detach().clone()
    with torch.no_grad():
        model.wte.weight.zero_()
    assert load_model(model, folder / "out.safetensors") == (set(), [])
    assert model.lm_head.weight.equal(expected)
    assert len(ckpttool.open("out.safetensors").ties()) == 1  # both exist when it is read again


@pytest.mark.parametrize("source", ["tied.bin", "tied.safetensors"])
@pytest.mark.parametrize("name", ["wte", "lm_head"])
@pytest.mark.parametrize("fill", ["mean", "normal"])
def test_a_resized_embedding_takes_its_head_along(
    folder: Path, run: Callable[..., str], source: str, name: str, fill: str
) -> None:
    run(f"ckpttool edit {source} --resize '{name} = to(9, axis=0, fill={fill})' -o grown.safetensors")
    model = language_model(9)
    assert load_model(model, folder / "grown.safetensors") == (set(), [])
    old = language_model().wte.weight
    assert model.lm_head.weight[:7].equal(old)
    if fill == "mean":
        assert torch.allclose(model.lm_head.weight[7:], old.mean(0), atol=1e-6)
    run(f"ckpttool edit {source} --slice '{name}=0:0:5' -o small.safetensors")
    assert load_model(language_model(5), folder / "small.safetensors") == (set(), [])


def test_the_head_s_bias_goes_along_too(folder: Path, run: Callable[..., str]) -> None:
    """It belongs to the outputs, which PyTorch has first."""
    run("ckpttool edit bias.bin --resize 'wte = to(9, axis=0)' -o grown.safetensors")
    assert load_model(language_model(9, bias=True), folder / "grown.safetensors") == (set(), [])


def test_what_is_edited_apart_is_two_tensors_and_that_is_said(folder: Path, run: Callable[..., str]) -> None:
    printed = run("ckpttool edit tied.bin --prune 'lm_head=0.5' -o apart.safetensors")
    assert "edited apart, so not tied any more: lm_head.weight and wte.weight" in printed
    arrays = load_file(folder / "apart.safetensors")
    assert not arrays["lm_head.weight"].equal(arrays["wte.weight"])
    assert ckpttool.open("apart.safetensors").ties() == {}
