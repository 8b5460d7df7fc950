"""`export`: imported weights are exported again, byte by byte, with their former names and layouts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from ckpttool import checkpoint
from ckpttool.runtime.configure import tensorflow

RULES = """
[[rule]]
from = 'net\\.0\\.(weight|bias)'
to = 'conv/\\1'
transform = 'auto'

[[rule]]
from = ['rnn\\.weight_ih_l0', 'rnn\\.weight_hh_l0', 'rnn\\.bias_ih_l0', 'rnn\\.bias_hh_l0']
to = ['rnn/kernel', 'rnn/bias']
transform = 'lstm(torch, tf1, forget_bias=0)'

[[rule]]
from = 'fc\\.weight'
to = 'fc/weight'
transform = 'dense'

[[rule]]
from = 'steps'
drop = true
"""


def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    lstm = {f"rnn.{name}": tensor.detach().clone() for name, tensor in torch.nn.LSTM(3, 5).named_parameters()}
    lstm["rnn.bias_hh_l0"].zero_()  # a cell of TensorFlow 1 has one bias
    conv = {"net.0.weight": torch.randn(4, 3, 2, 2), "net.0.bias": torch.randn(4)}
    return {**conv, **lstm, "fc.weight": torch.randn(6, 6), "steps": torch.tensor(3)}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A PyTorch file."""
    torch.save(state(), tmp_path / "model.pt")
    return tmp_path / "model.pt"


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    (tmp_path / "rules.toml").write_text(RULES)
    return tmp_path / "rules.toml"


@pytest.fixture
def imported(shell: Any, source: Path, rules: Path, tmp_path: Path) -> Path:
    """A TensorFlow 1 model with the file's weights."""
    tf1 = tensorflow().compat.v1
    with tf1.Graph().as_default():
        x = tf1.placeholder(tf1.float32, (None, 8, 8, 3))
        tf1.nn.conv2d(x, tf1.get_variable("conv/weight", (2, 2, 3, 4)), 1, "SAME") + tf1.get_variable("conv/bias", 4)
        tf1.matmul(tf1.placeholder(tf1.float32, (None, 6)), tf1.get_variable("fc/weight", (6, 6)))
        for name, shape in {"rnn/kernel": (8, 20), "rnn/bias": (20,)}.items():
            tf1.get_variable(name, shape)
        tf1.train.Saver()
        tf1.train.export_meta_graph(str(tmp_path / "graph.meta"))
    out = tmp_path / "imported.ckpt"
    shell.run("import", source, "--into", tmp_path / "graph.meta", "--rules", rules, "-o", out)
    return out


@pytest.mark.parametrize("name", ["back.safetensors", "back.npz"])
def test_the_bytes_come_back(shell: Any, imported: Path, source: Path, rules: Path, tmp_path: Path, name: str) -> None:
    out = tmp_path / name
    result = shell.run("export", imported, "--rules", rules, "--like", source, "-o", out)
    assert "fc.weight\t[6, 6]\tfloat32\tfc/weight by dense" in result.stdout
    assert f"as in {source}: steps" in result.stderr
    back = load_file(out) if name.endswith("safetensors") else dict(np.load(out))
    assert {name: value.tobytes() for name, value in back.items()} == {
        name: tensor.numpy().tobytes() for name, tensor in state().items()
    }


def test_a_tied_kernel_follows_the_one_that_it_is_tied_to(
    shell: Any, imported: Path, source: Path, rules: Path, tmp_path: Path
) -> None:
    """An import skips it, an export writes it in its own layout; one without a variable keeps its values."""
    torch.save(state() | {"head.weight": torch.zeros(6, 6), "other": torch.ones(2)}, source)
    copies = "".join(
        f"[[rule]]\nfrom = '{old}'\nto = '{new}'\ncopy = true\n{more}\n"
        for old, new, more in (("head\\.weight", "fc/weight", "transform = 'keep'"), ("other", "nowhere", ""))
    )
    rules.write_text(copies + RULES)
    out, back = tmp_path / "again.ckpt", tmp_path / "back.safetensors"
    said = shell.run("import", source, "--into", f"{imported}.meta", "--rules", rules, "-o", out).stderr
    assert "excluded by a rule: steps, head.weight, other" in said
    said = shell.run("export", out, "--rules", rules, "--like", source, "-o", back)
    assert "head.weight\t[6, 6]\tfloat32\tfc/weight" in said.stdout
    assert f"as in {source}: steps, other" in said.stderr
    found = load_file(back)
    assert found["head.weight"].tolist() == found["fc.weight"].T.tolist() == state()["fc.weight"].T.tolist()
    assert found["other"].tolist() == [1.0, 1.0]


def test_transformers_reads_whose_file_it_is(
    shell: Any, imported: Path, source: Path, rules: Path, tmp_path: Path
) -> None:
    out = tmp_path / "back.safetensors"
    shell.run("export", imported, "--rules", rules, "--like", source, "-o", out)
    assert checkpoint.open(out).metadata["format"] == "pt"


def test_a_plan_writes_nothing(shell: Any, imported: Path, source: Path, rules: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    found = shell.json("export", imported, "--rules", rules, "--like", source, "--plan")
    assert found[0] == {
        "name": "net.0.weight",
        "shape": [4, 3, 2, 2],
        "dtype": "float32",
        "value": "conv/weight by conv",
    }
    assert sorted(tmp_path.iterdir()) == before


def test_keras_weights(shell: Any, tmp_path: Path) -> None:
    """Imported, changed manually, exported: Keras loads the new values."""
    tf1 = tensorflow().compat.v1
    import keras

    layers = [keras.Input((2,)), keras.layers.Dense(3, name="dense")]
    network = keras.Sequential(layers)
    network.save_weights(tmp_path / "k.weights.h5")
    with tf1.Graph().as_default(), tf1.Session() as session:
        kernel, bias = tf1.get_variable("dense/kernel", (2, 3)), tf1.get_variable("dense/bias", (3,))
        saver = tf1.train.Saver()
        session.run([kernel.initializer, bias.initializer])
        values = session.run([kernel, bias])
        saver.save(session, str(tmp_path / "model.ckpt"))
    out = tmp_path / "new.weights.h5"
    shell.run("export", tmp_path / "model.ckpt", "--like", tmp_path / "k.weights.h5", "-o", out)
    network.load_weights(out)
    assert [weight.tobytes() for weight in network.get_weights()] == [value.tobytes() for value in values]


def test_an_old_file_of_keras_is_one_again(shell: Any, tmp_path: Path) -> None:
    """Two formats have files that end in `.h5`; the output has that of the other file: Keras loads it."""
    tensorflow()
    import keras

    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3, name="dense")])
    network.save(tmp_path / "old.h5")
    shell.run("edit", tmp_path / "old.h5", "--scale", "dense=2", "-o", tmp_path / "twice.ckpt")
    checkpoint.save(checkpoint.open(tmp_path / "twice.ckpt"), tmp_path / "twice.npz")
    shell.run("import", tmp_path / "twice.npz", "--into", tmp_path / "old.h5", "-o", tmp_path / "model.ckpt")
    shell.run("export", tmp_path / "model.ckpt", "--like", tmp_path / "old.h5", "-o", tmp_path / "new.h5")
    loaded = keras.models.load_model(tmp_path / "new.h5", compile=False)
    assert [weight.tolist() for weight in loaded.get_weights()] == [
        (2 * weight).tolist() for weight in network.get_weights()
    ]


def test_another_dtype(shell: Any, imported: Path, rules: Path, tmp_path: Path) -> None:
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state().items()}
    torch.save(halves, tmp_path / "half.pt")
    how = ["export", imported, "--rules", rules, "--like", tmp_path / "half.pt", "-o", tmp_path / "half.safetensors"]
    assert "is float16, conv/weight in imported.ckpt.meta is float32; --cast changes it" in shell.error(*how)
    shell.run(*how, "--cast")
    back = load_file(tmp_path / "half.safetensors")
    assert back["net.0.weight"].tobytes() == halves["net.0.weight"].numpy().tobytes()


def no_like(like: Path) -> tuple[list[str], str]:
    return [], "Missing option '--like'. It has the names, shapes and dtypes of OUT"


def other_shape(like: Path) -> tuple[list[str], str]:
    torch.save(state() | {"net.0.weight": torch.zeros(4, 3, 1, 1)}, like)
    return [
        "--like",
        str(like),
    ], "like.pt: net.0.weight is [4, 3, 1, 1], by conv [1, 1, 3, 4], conv/weight in imported.ckpt.meta is"


def one_less(like: Path) -> tuple[list[str], str]:
    torch.save({name: tensor for name, tensor in state().items() if name != "net.0.bias"}, like)
    return ["--like", str(like)], "like.pt: nothing for conv/bias of imported.ckpt.meta"


def one_more(like: Path) -> tuple[list[str], str]:
    torch.save(state() | {"net.1.bias": torch.zeros(4)}, like)
    return ["--like", str(like)], "like.pt: net.1.bias is not a variable of imported.ckpt.meta"


@pytest.mark.parametrize("make", [no_like, other_shape, one_less, one_more])
def test_what_does_not_fit_is_one_line_and_nothing_is_written(
    shell: Any, imported: Path, rules: Path, tmp_path: Path, make: Callable[[Path], tuple[list[str], str]]
) -> None:
    more, expected = make(tmp_path / "like.pt")
    before = sorted(tmp_path.iterdir())
    line = shell.error("export", imported, "--rules", rules, "-o", tmp_path / "out.npz", *more)
    assert line.startswith(expected)
    assert sorted(tmp_path.iterdir()) == before


def test_lenient_keeps_what_the_model_lacks(shell: Any, imported: Path, rules: Path, tmp_path: Path) -> None:
    one_more(tmp_path / "like.pt")
    how = ["--rules", rules, "--like", tmp_path / "like.pt", "-o", tmp_path / "out.npz", "--lenient"]
    assert "like.pt: steps, net.1.bias" in shell.run("export", imported, *how).stderr
    assert np.load(tmp_path / "out.npz")["net.1.bias"].tolist() == [0.0] * 4


def test_formats_that_are_only_read(shell: Any, imported: Path, source: Path, rules: Path, tmp_path: Path) -> None:
    how = ["export", imported, "--rules", rules, "--like", source, "-o"]
    for name in ("back.pt", "back.bin"):
        line = shell.error(*how, tmp_path / name)
        assert line.startswith(
            f"{tmp_path}/{name}: no format writes .{name[5:]} files; known suffixes: bundle (.ckpt, "
        )
        assert "safetensors (.safetensors, " in line
        assert "npz (.npz)" in line
        assert "hdf5 (.h5, .hdf5)" in line
        assert "--to" not in line  # this command does not have that option
    shell.run(*how, tmp_path / "back.npz")
    assert "--overwrite" in shell.error(*how, tmp_path / "back.npz")
