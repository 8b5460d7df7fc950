"""`layers`: the parts of a model in the order of data flow, and patterns to paste."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch


def test_the_chapters_network(shell: Any, model: Path) -> None:
    result = shell.run("layers", model)
    assert result.stdout.splitlines() == [
        "hidden1\t235500\tdnn/hidden1/Relu:0\thidden1/kernel, hidden1/bias",
        "hidden2\t15050\tdnn/hidden2/Relu:0\thidden2/kernel, hidden2/bias",
        "hidden3\t2550\tdnn/hidden3/Relu:0\thidden3/kernel, hidden3/bias",
        "hidden4\t2550\tdnn/hidden4/Relu:0\thidden4/kernel, hidden4/bias",
        "hidden5\t2550\tdnn/hidden5/Relu:0\thidden5/kernel, hidden5/bias",
        "outputs\t510\tdnn/outputs/BiasAdd:0\toutputs/kernel, outputs/bias",
    ]
    assert result.stderr.splitlines() == ["--layers 'hidden[1-5]|outputs'", "--layers 'hidden[1-5]'"]


def test_a_printed_pattern_takes_what_it_says(shell: Any, model: Path) -> None:
    pattern = shell.run("layers", model).stderr.splitlines()[1].split("'")[1]
    names = [row["name"] for row in shell.json("vars", model, "--layers", pattern)]
    assert names == [f"hidden{number}/{part}" for number in range(1, 6) for part in ("bias", "kernel")]


def test_json_rows(shell: Any, model: Path) -> None:
    assert shell.json("layers", model)[0] == {
        "name": "hidden1",
        "variables": ["hidden1/kernel", "hidden1/bias"],
        "parameters": 235500,
        "output": "dnn/hidden1/Relu:0",
    }


def test_a_checkpoint_without_a_graph_has_scopes(shell: Any, tiny: Path) -> None:
    assert shell.json("layers", tiny) == [
        {"name": "fc", "variables": ["fc/bias", "fc/kernel"], "parameters": 9, "output": None}
    ]


def test_every_format_has_scopes(shell: Any, tiny: Path, tmp_path: Path) -> None:
    for name in ("tiny.npz", "tiny.h5", "tiny.safetensors"):
        shell.run("convert", tiny, "--drop-slots", "-o", tmp_path / name)
        assert shell.json("layers", tmp_path / name) == shell.json("layers", tiny)


@pytest.fixture
def dotted(tmp_path: Path) -> Path:
    """A PyTorch state dict."""
    parts = [torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Conv2d(4, 4, 3)]
    module = torch.nn.ModuleDict({"features": torch.nn.Sequential(*parts), "classifier": torch.nn.Linear(4, 2)})
    torch.save(module.state_dict(), tmp_path / "net.pt")
    return tmp_path / "net.pt"


def test_dots_end_scopes_where_no_name_has_a_slash(shell: Any, dotted: Path) -> None:
    result = shell.run("layers", dotted)
    assert [line.split("\t")[:2] for line in result.stdout.splitlines()] == [
        ["features.0", "112"],
        ["features.1", "17"],
        ["features.3", "148"],
        ["classifier", "10"],
    ]
    assert result.stderr.splitlines()[1] == "--layers 'features'"


def test_a_pattern_of_dotted_layers_takes_what_it_says(shell: Any, dotted: Path, tmp_path: Path) -> None:
    pattern = shell.run("layers", dotted).stderr.splitlines()[1].split("'")[1]
    names = [row["name"] for row in shell.json("vars", dotted, "--layers", pattern)]
    assert {name.rpartition(".")[0] for name in names} == {"features.0", "features.1", "features.3"}
    assert [row["name"] for row in shell.json("vars", dotted, "--layers", "features[.]3")] == [
        "features.3.weight",
        "features.3.bias",
    ]
    assert "nearest: classifier" in shell.error("vars", dotted, "--layers", "clasifier")
    out = tmp_path / "net.safetensors"
    shell.run("edit", dotted, "--keep", "classifier", "--rename", "classifier=>head", "-o", out)
    assert [row["name"] for row in shell.json("layers", out)] == ["head"]


def test_a_name_with_a_slash_has_plain_dots_before_it(shell: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", **{"v1.0/fc/kernel": np.ones((2, 3)), "scale.x": np.ones(1)})
    assert [row["name"] for row in shell.json("layers", tmp_path / "w.npz")] == ["v1.0/fc", "scale"]


def test_a_graph_beside_that_is_damaged_is_not_passed_over(shell: Any, tiny: Path) -> None:
    Path(f"{tiny}.meta").write_bytes(b"\xff" * 40)
    assert f"{tiny}.meta: " in shell.error("layers", tiny)


def test_nothing_there(shell: Any, tmp_path: Path) -> None:
    assert "none.ckpt" in shell.error("layers", tmp_path / "none.ckpt")


def test_a_keras_file_is_built_for_its_outputs_where_asked(shell: Any, tmp_path: Path) -> None:
    import keras

    layers = [
        keras.Input((3,)),
        keras.layers.Dense(2, activation="relu", name="low"),
        keras.layers.Dense(3, name="top"),
    ]
    keras.Sequential(layers).save(tmp_path / "net.keras")
    read = shell.run("layers", tmp_path / "net.keras")
    assert "which --outputs does" in read.stderr
    assert [row["output"] for row in shell.json("layers", tmp_path / "net.keras")] == [None, None]
    built = shell.json("layers", tmp_path / "net.keras", "--outputs")
    assert [row["output"] for row in built] == ["low/Relu:0", "top/BiasAdd:0"]
