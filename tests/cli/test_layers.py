"""`layers`: the parts of a model in the order in which data flows, and patterns to paste."""

from pathlib import Path
from typing import Any


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
    assert result.stderr.splitlines() == ["--layers 'hidden[12345]|outputs'", "--layers 'hidden[12345]'"]


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


def test_a_graph_beside_that_is_damaged_is_not_passed_over(shell: Any, tiny: Path) -> None:
    Path(f"{tiny}.meta").write_bytes(b"\xff" * 40)
    assert f"{tiny}.meta: " in shell.error("layers", tiny)


def test_nothing_there(shell: Any, tmp_path: Path) -> None:
    assert "none.ckpt" in shell.error("layers", tmp_path / "none.ckpt")
