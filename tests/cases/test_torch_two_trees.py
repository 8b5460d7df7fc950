"""PyTorch checkpoints as written by trainers: dotted names, next to other trees whose names have slashes."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import ckpttool


def network() -> Any:
    torch.manual_seed(0)
    net = torch.nn.Sequential()
    net.add_module("features", torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)))
    net.add_module("head", torch.nn.Linear(4, 2))
    return net


def make(folder: Path) -> None:
    net = network()
    average, state = copy.deepcopy(net), net.state_dict()
    with torch.no_grad():
        for parameter in average.parameters():
            parameter.mul_(0.5)
    optimizer = torch.optim.Adam(net.parameters()).state_dict()
    torch.save(state, folder / "plain.pt")
    torch.save({"state_dict": state, "state_dict_ema": average.state_dict(), "optimizer": optimizer}, folder / "ema.pt")
    lightning = {
        "state_dict": {f"model.{name}": tensor for name, tensor in state.items()},
        "optimizer_states": [optimizer],
        "callbacks": {"ModelCheckpoint{'monitor': 'val'}": {"best_model_score": torch.tensor(0.9)}},
    }
    torch.save(lightning, folder / "lit.ckpt")
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, folder / "ddp.pt")


FEATURES = [name for name in network().state_dict() if name.startswith("features")]


@pytest.mark.parametrize("file", ["plain.pt", "ema.pt", "lit.ckpt", "ddp.pt"])
@pytest.mark.parametrize("copied_to", ["", "copy.safetensors", "copy.npz", "copy.ckpt"])
def test_a_pattern_takes_components_whatever_other_names_there_are(
    folder: Path, run: Callable[[str], str], file: str, copied_to: str
) -> None:
    if copied_to:
        run(f"ckpttool convert {file} -o {copied_to}")
    scope = {"lit.ckpt": "model.", "ddp.pt": "module."}.get(file, "")
    listed = run(f"ckpttool vars {copied_to or file} --layers {scope}features")
    assert sorted(line.split("\t")[0] for line in listed.splitlines()) == sorted(scope + name for name in FEATURES)


def test_the_copy_beside_is_a_tree_of_its_own(folder: Path, run: Callable[[str], str]) -> None:
    listed = run("ckpttool vars ema.pt --layers state_dict_ema/features.1")
    assert [line.split("\t")[0] for line in listed.splitlines()] == [
        f"state_dict_ema/{name}" for name in FEATURES if name.startswith("features.1")
    ]
    layers = run("ckpttool layers ema.pt").splitlines()
    assert [line.split("\t")[0] for line in layers[:6]] == [
        *("features.0", "features.1", "head"),
        *(f"state_dict_ema/{layer}" for layer in ("features.0", "features.1", "head")),
    ]


def test_prefixes_of_dotted_names(folder: Path, run: Callable[[str], str]) -> None:
    state = network().state_dict()
    run("ckpttool edit ddp.pt --strip-prefix module -o bare.safetensors")
    network().load_state_dict(load_file(folder / "bare.safetensors"))
    run("ckpttool edit plain.pt --add-prefix model -o deep.safetensors")
    torch.nn.ModuleDict({"model": network()}).load_state_dict(load_file(folder / "deep.safetensors"))
    run("ckpttool edit plain.pt --add-prefix model/ -o scoped.npz")
    assert list(ckpttool.open("scoped.npz")) == [f"model/{name}" for name in state]


def test_names_without_a_dot_get_the_separator_of_their_format(folder: Path, run: Callable[[str], str]) -> None:
    torch.save(torch.nn.Linear(2, 1).state_dict(), folder / "linear.pt")
    run("ckpttool edit linear.pt --add-prefix fc -o linear.safetensors")
    assert sorted(load_file(folder / "linear.safetensors")) == ["fc.bias", "fc.weight"]


def test_the_line_of_a_refusal_works(folder: Path, run: Callable[..., str]) -> None:
    refused = run("ckpttool edit lit.ckpt --strip-prefix model -o bare.safetensors", exit_code=2)
    assert "1 name does not begin with model" in refused
    rule = refused.partition("--rename '")[2].partition("'")[0]
    run(f"ckpttool edit lit.ckpt --rename '{rule}' -o bare.safetensors")
    assert set(network().state_dict()) < set(load_file(folder / "bare.safetensors"))


def test_keep_drop_rename_diff_and_convert(folder: Path, run: Callable[..., str]) -> None:
    run("ckpttool edit ema.pt --keep state_dict_ema --strip-prefix state_dict_ema --rename head=>top -o a.safetensors")
    assert {name.split(".")[0] for name in load_file(folder / "a.safetensors")} == {"features", "top"}
    run("ckpttool edit lit.ckpt --drop 'callbacks|model.head' --strip-prefix model. -o b.safetensors")
    assert sorted(load_file(folder / "b.safetensors")) == sorted(FEATURES)
    run("ckpttool convert lit.ckpt --layers model.head -o c.npz")
    assert sorted(ckpttool.open("c.npz")) == ["model.head.bias", "model.head.weight"]
    differing = run("ckpttool diff plain.pt ema.pt --layers features", exit_code=0)
    assert "7" in differing


def test_a_dot_before_a_slash_separates_nothing(folder: Path, run: Callable[..., str]) -> None:
    np.savez(folder / "scopes.npz", **{"v1.0/fc/kernel": np.zeros(2), "v1.0/fc/bias": np.ones(1), "step": np.ones(1)})
    assert "matches nothing" in run("ckpttool vars scopes.npz --layers v1", exit_code=2)
    assert len(run("ckpttool vars scopes.npz --layers v1.0").splitlines()) == 2
