"""A PyTorch network with a square kernel, in the containers used to exchange weights."""

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

CONTAINERS = ["sd.pt", "bare.safetensors", "pt.safetensors", "sd.npz"]
CONVERTED = ["conv.safetensors", "conv.npz", "conv.h5", "conv.ckpt"]
"""Each converted from the previous one."""
RULES = r"""
[[rule]]
from = 'fc([13])\.weight'
to = 'fc\1/kernel'
transform = 'dense'
[[rule]]
from = 'fc2\.weight'
to = 'fc2/kernel'
[[rule]]
from = '(\w+)\.bias'
to = '\1/bias'
"""


def make(folder: Path) -> None:
    """Three layers, the middle one square, in each container; rules with `dense` where the shape shows it."""
    torch.manual_seed(0)
    layers = {"fc1": torch.nn.Linear(6, 4), "fc2": torch.nn.Linear(4, 4), "fc3": torch.nn.Linear(4, 3)}
    weights = torch.nn.ModuleDict(layers).state_dict()
    torch.save(weights, folder / "sd.pt")
    save_file(weights, folder / "bare.safetensors")
    save_file(weights, folder / "pt.safetensors", {"format": "pt"})
    np.savez(folder / "sd.npz", **{name: value.numpy() for name, value in weights.items()})
    rows = torch.randn(5, 6)
    with torch.no_grad():
        top = layers["fc3"](layers["fc2"](layers["fc1"](rows).relu()).relu())
    np.savez(folder / "sample.npz", X=rows.numpy(), fc3=top.numpy())
    (folder / "part.toml").write_text(RULES)


def graph(run: Callable[..., str]) -> None:
    run("ckpttool new --input 6 --layers 'fc1 = dense(4, relu); fc2 = dense(4, relu); fc3 = dense(3)' -o g.ckpt")


def test_a_rule_that_does_not_say_how_a_square_kernel_lies_is_refused_in_every_container(
    folder: Path, run: Callable[..., str]
) -> None:
    graph(run)
    for source, output in itertools.pairwise(["sd.pt", *CONVERTED]):
        run(f"ckpttool convert {source} -o {output}")
    for container in CONTAINERS + CONVERTED:
        printed = run(f"ckpttool import {container} --into g.ckpt.meta --rules part.toml -o o.ckpt", exit_code=2)
        assert "fc2.weight is [4, 4] either way" in printed
        assert "specify transform = 'dense', or 'keep', in a rule, or a reference decides it" in printed
    # the suggestions of the message work: the rule, or a reference
    said = RULES.replace("to = 'fc2/kernel'", "to = 'fc2/kernel'\ntransform = 'dense'")
    (folder / "said.toml").write_text(said)
    check = "--check sample.npz --tolerance 1e-5 -o"
    run(f"ckpttool import conv.npz --into g.ckpt.meta --rules said.toml {check} o1.ckpt")
    assert "fc2/kernel: dense, as the reference tells" in run(
        f"ckpttool import conv.npz --into g.ckpt.meta --rules part.toml {check} o2.ckpt"
    )


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_draft_and_the_ready_rules_turn_it(folder: Path, run: Callable[..., str], container: str) -> None:
    graph(run)
    run(f"ckpttool import {container} --into g.ckpt.meta --suggest -o rules.toml")
    for number, rules in enumerate(("rules.toml", "pytorch")):
        command = f"ckpttool import {container} --into g.ckpt.meta --rules {rules} --check sample.npz"
        assert "checked: 1 tensor equals" in run(f"{command} --tolerance 1e-5 -o {number}.ckpt")


def test_alone_in_a_file_of_arrays_it_stays_open(folder: Path, run: Callable[..., str]) -> None:
    np.savez(folder / "alone.npz", **{"fc.weight": np.ones((4, 4), np.float32), "fc.bias": np.ones(4, np.float32)})
    run("ckpttool new --input 4 --layers 'fc = dense(4)' -o one.ckpt")
    assert "open: fc/kernel" in run("ckpttool import alone.npz --into one.ckpt --suggest -o r.toml", exit_code=1)
    rules = r"--rename 'fc\.weight=>fc/kernel' --rename 'fc\.bias=>fc/bias'"
    printed = run(f"ckpttool import alone.npz --into one.ckpt {rules} -o o.ckpt", exit_code=2)
    assert "nothing shows whether fc/kernel in one.ckpt.meta is its transpose" in printed


def test_a_variable_under_its_own_name_is_no_riddle(folder: Path, run: Callable[..., str]) -> None:
    kernel = np.arange(16, dtype=np.float32).reshape(4, 4)
    np.savez(folder / "own.npz", **{"fc/kernel": kernel, "fc/bias": np.ones(4, np.float32)})
    run("ckpttool new --input 4 --layers 'fc = dense(4)' -o one.ckpt")
    run("ckpttool import own.npz --into one.ckpt -o o.ckpt")
    run("ckpttool convert o.ckpt --layers fc -o back.npz")
    assert (np.load(folder / "back.npz")["fc/kernel"] == kernel).all()


def test_weights_of_keras_that_were_converted_are_none_of_pytorch(folder: Path, run: Callable[..., str]) -> None:
    """A safetensors file has `format: pt` for other readers; its lineage contains the source of the tensors."""
    run("ckpttool new --input 4 --layers 'fc = dense(4); out = dense(4)' -o tf.ckpt")
    run("ckpttool convert tf.ckpt --drop-slots -o tf.safetensors")
    run("ckpttool import tf.safetensors --into tf.ckpt.meta -o same.ckpt")
    run("ckpttool diff tf.ckpt same.ckpt")
    rules = "ckpttool import tf.safetensors --into tf.ckpt.meta --suggest -o r.toml --overwrite"
    assert "fc/kernel\tfc/kernel\tkeep\t" in run(rules)
