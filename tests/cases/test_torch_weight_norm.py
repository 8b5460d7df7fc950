"""PyTorch layers with weight normalisation, in both of its forms, and with spectral normalisation."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn.utils import parametrizations as new
from torch.nn.utils import prune, spectral_norm


def pruned(module: torch.nn.Module) -> torch.nn.Module:
    return prune.l1_unstructured(module, "weight", 0.5)  # type: ignore[no-untyped-call]


def weight_norm(module: torch.nn.Module) -> torch.nn.Module:
    with warnings.catch_warnings(action="ignore"):  # deprecated, but used in most files
        return torch.nn.utils.weight_norm(module)


WRAPS = {
    "old": weight_norm,
    "new": new.weight_norm,
    "spectral": new.spectral_norm,
    "old_spectral": spectral_norm,
    "pruned": pruned,
}


def make(folder: Path) -> None:
    """A convolution and a dense layer with each, trained away from their initial values, and their outputs."""
    for name, wrap in WRAPS.items():
        torch.manual_seed(0)
        layers = {"conv1": wrap(torch.nn.Conv2d(3, 4, 3, padding=1)), "fc": wrap(torch.nn.Linear(64, 5))}
        net, rows = torch.nn.ModuleDict(layers), torch.randn(2, 3, 4, 4)
        with torch.no_grad():
            net["fc"](net["conv1"](rows).relu().flatten(1))  # one step of spectral normalisation's power iteration
            for key, value in net.named_parameters():
                value.mul_(1.5 if key.endswith(("_g", "original0")) else 1.1)
            top = net.eval()["fc"](net["conv1"](rows).relu().flatten(1))
        torch.save(net.state_dict(), folder / f"{name}.pt")
        np.savez(folder / f"{name}_sample.npz", X=rows.permute(0, 2, 3, 1).numpy(), fc=top.numpy())


def graph(run: Callable[..., str]) -> None:
    run("ckpttool new --input 4,4,3 --layers 'conv1 = conv2d(4, 3, relu); f = flatten(); fc = dense(5)' -o g.ckpt")


def test_the_weight_is_computed_of_its_parts(folder: Path, run: Callable[..., str]) -> None:
    graph(run)
    for name in WRAPS:
        run(f"ckpttool import {name}.pt --into g.ckpt.meta --suggest -o {name}.toml")
        for number, rules in enumerate((f"{name}.toml", "pytorch")):
            command = f"ckpttool import {name}.pt --into g.ckpt.meta --rules {rules} --check {name}_sample.npz"
            printed = run(f"{command} --tolerance 1e-5 -v -o {name}{number}.ckpt")
            assert "checked: 1 tensor equals" in printed
            assert "computed: conv1.weight is " in printed


def test_a_part_alone_is_refused_with_the_name_of_the_whole(folder: Path, run: Callable[..., str]) -> None:
    graph(run)
    parts = {"old": r"conv1\.weight_v", "new": r"conv1\.parametrizations\.weight\.original1"}
    for name, part in parts.items():
        rest = r"--rename 'fc\.weight=>fc/kernel' --rename '(\w+)\.bias=>\1/bias'"
        command = f"ckpttool import {name}.pt --into g.ckpt.meta --rename '{part}=>conv1/kernel' {rest} --lenient"
        printed = run(f"{command} -o {name}.ckpt", exit_code=2)
        assert (
            f"matches {part.replace(chr(92), '')} alone, which is only a part: conv1.weight is weight_norm of"
            in printed
        )
        assert "a rule that matches conv1.weight converts the whole" in printed


def test_an_export_gives_pytorch_its_parts_back(folder: Path, run: Callable[..., str]) -> None:
    from safetensors.torch import load_file

    graph(run)
    for name in ("old", "new", "pruned"):
        run(f"ckpttool import {name}.pt --into g.ckpt.meta --rules pytorch -o {name}.ckpt")
        run(f"ckpttool export {name}.ckpt --like {name}.pt --rules pytorch -o {name}.safetensors")
        net = torch.nn.ModuleDict(
            {"conv1": WRAPS[name](torch.nn.Conv2d(3, 4, 3, padding=1)), "fc": WRAPS[name](torch.nn.Linear(64, 5))}
        )
        net.load_state_dict(load_file(folder / f"{name}.safetensors"))
        with np.load(folder / f"{name}_sample.npz") as arrays:
            sample = dict(arrays)
        with torch.no_grad():
            rows = torch.from_numpy(sample["X"]).permute(0, 3, 1, 2)
            top = net.eval()["fc"](net["conv1"](rows).relu().flatten(1))
        np.testing.assert_allclose(top.numpy(), sample["fc"], atol=1e-5)


def test_one_that_is_not_known_is_left_open(folder: Path, run: Callable[..., str]) -> None:
    torch.save(
        torch.nn.ModuleDict({"fc": new.orthogonal(torch.nn.Linear(4, 4))}).state_dict(), folder / "orthogonal.pt"
    )
    run("ckpttool new --input 4 --layers 'fc = dense(4)' -o one.ckpt")
    printed = run("ckpttool import orthogonal.pt --into one.ckpt.meta --suggest -o r.toml", exit_code=1)
    assert "open: fc.parametrizations.weight.original is a part of a weight under an unknown parametrisation" in printed
    rename = r"--rename 'fc\.parametrizations\.weight\.original=>fc/kernel' --rename 'fc\.bias=>fc/bias'"
    printed = run(f"ckpttool import orthogonal.pt --into one.ckpt.meta {rename} -o o.ckpt", exit_code=2)
    assert "remove_parametrizations before saving" in printed
