"""Each proof, with a fault injected below it: the command reports it and fails, and the old output stays, or none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.tensors import Tensor
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef
from ckpttool.graph import files
from ckpttool.model import families
from ckpttool.training.trainer import Trainer

Left = Callable[[str], dict[str, bytes]]


@pytest.fixture
def left(tmp_path: Path) -> Left:
    """Return the files of an output, by name."""

    def found(output: str) -> dict[str, bytes]:
        paths = [path for path in tmp_path.rglob("*") if path.is_file()]
        names = {path: str(path.relative_to(tmp_path)) for path in paths}
        return {name: path.read_bytes() for path, name in names.items() if name.startswith((output, "."))}

    return found


def one_bit_off(tensor: Tensor) -> Tensor:
    raw = bytearray(tensor.read().tobytes())
    raw[-1] ^= 1
    return Tensor.of(tensor.name, np.frombuffer(bytes(raw), tensor.dtype.numpy).reshape(tensor.shape))


@pytest.fixture
def normalised(shell: Any, tmp_path: Path) -> Path:
    """A network with a batch normalisation, whose averages are frozen with its layer."""
    path = tmp_path / "normalised.ckpt"
    layers = "low = dense(4); norm = batch_norm(); outputs = dense(3)"
    shell.run("new", "--input", "4", "--layers", layers, "-o", path)
    return path


@pytest.mark.parametrize(("moved", "output"), [("low/bias", "out"), ("norm/moving_mean", "out.ckpt")])
def test_a_step_of_training_that_moves_what_is_frozen(
    shell: Any, normalised: Path, data: Path, tmp_path: Path, left: Left, monkeypatch: pytest.MonkeyPatch,
    moved: str, output: str,
) -> None:  # fmt: skip
    run = ["finetune", normalised, "--data", data, "--freeze", "low|norm", "--epochs", "1"]
    run += ["--to", "ckpt" if output.endswith("ckpt") else "saved-model", "-o", tmp_path / output]
    shell.run(*run)
    old, tensors = left(output), Trainer.tensors

    def wrong(self: Trainer, weights: Any) -> dict[str, Tensor]:
        found = tensors(self, weights)
        return {**found, moved: one_bit_off(found[moved])}

    monkeypatch.setattr(Trainer, "tensors", wrong)
    said = shell.run(*run, "--overwrite", exit_code=2).stderr.splitlines()[-1]
    assert said == f"Error: {tmp_path / output}: frozen tensors have changed: {moved}"
    new = left(output)
    assert {name: new[name] for name in new if "history" not in name} == {
        name: old[name] for name in old if "history" not in name
    }


@pytest.mark.parametrize("command", ["strip", "collections", "fold"])
def test_a_graph_that_is_written_as_another(
    shell: Any, model: Path, tmp_path: Path, left: Left, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    output = tmp_path / {"strip": "out.ckpt", "collections": "out.meta", "fold": "out.pb"}[command]
    run = [command, model, *(["--add", "names", "X"] if command == "collections" else []), "-o", output]
    shell.run(*run)
    old, write = left("out"), files.write

    def without_an_op(message: Any, path: Path) -> None:
        other = type(message)()
        other.CopyFrom(message)
        del (other.graph_def if hasattr(other, "graph_def") else other).node[-1]
        write(other, path)

    monkeypatch.setattr(files, "write", without_an_op)
    said = shell.run(*run, "--overwrite", exit_code=2).stderr.splitlines()[-1]
    assert said.startswith(f"Error: {output}")
    assert said.endswith("the graph reads back differently than it was written")
    assert left("out") == old


def test_a_saved_model_that_is_written_as_another(
    shell: Any, model: Path, tmp_path: Path, left: Left, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ["export-saved-model", model, "-o", tmp_path / "out"]
    shell.run(*run)
    old, write = left("out"), families.write_saved_model

    def without_its_signature(meta: MetaGraphDef, *rest: Any) -> None:
        other = MetaGraphDef()
        other.CopyFrom(meta)
        other.signature_def.clear()
        write(other, *rest)

    def without_a_tensor(meta: MetaGraphDef, tensors: Any, *rest: Any) -> None:
        write(meta, checkpoint.Checkpoint.of(tensors).drop("outputs/bias"), *rest)

    for fault, what in (
        (without_its_signature, "/saved_model.pb: the graph reads back differently than it was written"),
        (without_a_tensor, ": outputs/bias reads back as nothing, expected float32 [10]"),
    ):
        monkeypatch.setattr(families, "write_saved_model", fault)
        said = shell.run(*run, "--overwrite", exit_code=2).stderr.splitlines()[-1]
        assert said == f"Error: {tmp_path / 'out'}{what}"
        assert left("out") == old
