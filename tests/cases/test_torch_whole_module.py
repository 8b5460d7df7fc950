"""Pickled modules: `torch.save(model)`, and `{'model': module}` as written by detectors' repositories."""

import copy
import enum
import sys
import types
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ckpttool


def repository() -> types.ModuleType:
    """Return a module that exists while a model is saved, like the repository that defines its class."""
    module = types.ModuleType("models_of_somebody")

    class Mode(enum.Enum):
        FAST = 1

    class Settings(dict):  # type: ignore[type-arg]
        pass

    class Block(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scales = torch.nn.ParameterList([torch.nn.Parameter(torch.rand(2)) for _ in range(2)])
            self.register_buffer("mask", torch.ones(2), persistent=False)
            self.act = torch.nn.functional.silu

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3, bias=False)
            self.bn = torch.nn.BatchNorm2d(4)
            self.register_buffer("anchors", torch.arange(6.0).reshape(3, 2))
            self.blocks = torch.nn.ModuleList([Block(), torch.nn.Sequential(torch.nn.Linear(4, 3))])
            self.again = self.bn
            self.cell = torch.nn.LSTM(2, 3)
            self.normed = torch.nn.utils.spectral_norm(torch.nn.Linear(2, 2))
            self.head = torch.nn.Linear(3, 4)
            self.head.weight = torch.nn.Parameter(torch.rand(4, 3))
            self.stride = torch.tensor([8.0, 16.0])
            self.mode, self.yaml = Mode.FAST, Settings(nc=80)

    class Average:
        def __init__(self, model: torch.nn.Module) -> None:
            self.decay, self.shadow = 0.99, {name: t.clone() for name, t in model.state_dict().items()}

    for kind in (Mode, Settings, Block, Model, Average):
        kind.__module__, kind.__qualname__ = module.__name__, kind.__name__
        setattr(module, kind.__name__, kind)
    return module


def make(folder: Path) -> None:
    module = repository()
    sys.modules[module.__name__] = module
    torch.manual_seed(0)
    model = module.Model()
    half = copy.deepcopy(model).half()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    torch.save(model.state_dict(), folder / "state.pt")
    torch.save(half.state_dict(), folder / "half_state.pt")
    torch.save(model, folder / "whole.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the warning that the source of a class is not found
        torch.save(model, folder / "whole_old.pt", _use_new_zipfile_serialization=False)
    torch.save(torch.nn.DataParallel(model), folder / "parallel.pt")
    torch.save({"epoch": -1, "model": model, "ema": None, "optimizer": optimizer}, folder / "yolo.pt")
    torch.save(
        {"epoch": -1, "model": None, "ema": half, "optimizer": None, "args": module.Settings()}, folder / "best.pt"
    )
    torch.save(module.Average(model), folder / "average.pt")
    del sys.modules[module.__name__]


def values(path: str) -> dict[str, Any]:
    return {name: tensor.read().tolist() for name, tensor in ckpttool.open(path).items()}


@pytest.mark.parametrize(
    ("file", "state", "prefix"),
    [
        ("whole.pt", "state.pt", ""),
        ("whole_old.pt", "state.pt", ""),
        ("parallel.pt", "state.pt", "module."),
        ("yolo.pt", "state.pt", ""),
        ("best.pt", "half_state.pt", ""),
        ("average.pt", "state.pt", "shadow/"),
    ],
)
def test_the_names_are_those_of_the_state_dict(folder: Path, file: str, state: str, prefix: str) -> None:
    expected = {prefix + name: tensor.tolist() for name, tensor in torch.load(folder / state).items()}
    assert values(file) == expected
    assert list(ckpttool.open(file)) == list(expected)


def test_what_is_no_parameter_and_no_buffer_is_named(folder: Path, run: Callable[[str], str]) -> None:
    assert "models_of_somebody" not in sys.modules
    left_out = ckpttool.open("yolo.pt").left_out
    assert [entry.partition(" ")[0] for entry in left_out] == ["blocks.0.mask", "normed.weight", "stride", "optimizer"]
    printed = run("ckpttool verify yolo.pt")
    assert "whole; 4 entries skipped: blocks.0.mask (is neither a parameter nor a buffer of its module)" in printed
    assert ckpttool.open("best.pt").left_out[-1] == "args"


def test_it_becomes_any_other_format(folder: Path, run: Callable[[str], str]) -> None:
    from safetensors.torch import load_file

    printed = run("ckpttool convert whole.pt -o whole.safetensors")
    assert "skipped" in printed and "stride" in printed
    assert ckpttool.open("whole.pt").metadata["again.weight"] == "bn.weight"
    loaded, state = load_file(folder / "whole.safetensors"), torch.load(folder / "state.pt")
    ties = {name for name in state if name.startswith("again.")}  # once, and a note of them, as PyTorch's own writer
    assert all(loaded[name].equal(state[name]) for name in state.keys() - ties)
    run("ckpttool diff whole.pt state.pt")


def test_a_traced_graph_of_a_module_and_its_containers(folder: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 2), torch.nn.GRU(2, 3), torch.nn.Embedding(3, 2))
    traced = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU()))
    torch.save({"net": net, "traced": traced}, folder / "two.pt")
    expected = {name: tensor.tolist() for name, tensor in net.state_dict().items()}
    expected |= {f"traced/{name}": tensor.tolist() for name, tensor in traced.state_dict().items()}
    assert values("two.pt") == expected


def test_what_could_act_is_refused_and_never_runs(folder: Path, run: Callable[..., str]) -> None:
    class Harmful(torch.nn.Linear):
        def __reduce__(self) -> Any:  # type: ignore[override]
            return exec, ("open('harmed', 'w')",)

    torch.save({"model": torch.nn.Linear(2, 2), "extra": Harmful(1, 1)}, folder / "harmful.pt")
    assert "its pickle refers to builtins.exec, which is never imported or run" in run("ckpttool vars harmful.pt", 2)
    assert not (folder / "harmed").exists()


def test_numbers_of_numpy_in_a_module(folder: Path) -> None:
    net = torch.nn.Linear(2, 1)
    net.seen = np.arange(3)  # type: ignore[assignment]
    torch.save(net, folder / "seen.pt")
    assert (list(values("seen.pt")), len(ckpttool.open("seen.pt").left_out)) == (["weight", "bias"], 1)


@pytest.mark.filterwarnings("ignore")
def test_what_a_quantised_module_has_packed_is_named(folder: Path) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))
    quantised = torch.ao.quantization.quantize_dynamic(net, {torch.nn.Linear}, dtype=torch.qint8)
    torch.save(quantised, folder / "quantised.pt")
    torch.jit.save(torch.jit.script(quantised), folder / "quantised_program.pt")
    for file in ("quantised.pt", "quantised_program.pt"):
        opened = ckpttool.open(file)
        assert list(opened) == [f"1.{name}" for name in net[1].state_dict()]
        assert opened.left_out == (
            "0._packed_params._packed_params (is neither a parameter nor a buffer of its module)",
        )
