"""Every transfer command on a missing or damaged model: one line names the file, nothing is written."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

COMMANDS = {
    "reuse": ["reuse", "MODEL", "--layers", "hidden[12]", "--head", "new = dense(3)", "-o", "OUT"],
    "reuse-same": ["reuse", "MODEL", "--layers", "hidden[12]", "-o", "OUT"],
    "freeze": ["freeze", "MODEL", "--layers", "hidden1", "-o", "OUT"],
    "finetune": ["finetune", "MODEL", "--data", "DATA", "--epochs", "1", "-o", "OUT"],
    "evaluate": ["evaluate", "MODEL", "--data", "DATA"],
    "cache": ["cache", "MODEL", "--data", "DATA", "--freeze", "hidden[12]", "--cache-dir", "CACHE"],
    "import": ["import", "WEIGHTS", "--into", "MODEL", "--lenient", "-o", "OUT"],
}


def damage(prefix: Path, what: str) -> None:
    """Damage one of a model's files as the words say: `cut off index`, `flip data`, `remove meta`."""
    verb, _, part = what.rpartition(" ")
    path = Path(f"{prefix}.{'data-00000-of-00001' if part == 'data' else part}")
    content = path.read_bytes()
    if verb == "remove":
        path.unlink()
    elif verb == "cut off":
        path.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])


@pytest.fixture
def attempt(shell: Any, data: Path, tmp_path: Path) -> Callable[[str, Path], str]:
    """Run a command on a model; it must fail, write nothing, and give the reason in the one line that is returned."""
    np.savez(tmp_path / "weights.npz", **{"hidden1/bias": np.zeros(8, np.float32)})

    def run(command: str, model: Path) -> str:
        names = {"MODEL": model, "DATA": data, "WEIGHTS": tmp_path / "weights.npz"}
        names |= {"OUT": tmp_path / "out.ckpt", "CACHE": tmp_path / "cache"}
        before = sorted(tmp_path.rglob("*"))
        result = shell.run(*(names.get(word, word) for word in COMMANDS[command]), exit_code=2)
        assert sorted(tmp_path.rglob("*")) == before
        (message,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
        assert result.stderr.endswith(f"{message}\n")  # a plan and its notes may be before it: tensors are read last
        return str(message)

    return run


DAMAGES = {
    "cut off index": "small.ckpt.index",
    "flip index": "small.ckpt.index",
    "remove index": "small.ckpt.index is missing",
    "cut off data": "small.ckpt.data-00000-of-00001: ",
    "flip data": "small.ckpt.data-00000-of-00001: hidden2/kernel is damaged",
    "remove data": "small.ckpt.data-00000-of-00001 is missing",
    "cut off meta": "small.ckpt.meta: ",
    "remove meta": "small.ckpt: no graph found",
}
CASES = [(command, what) for command in COMMANDS for what in DAMAGES]
CASES.remove(("import", "remove index"))  # weights can be imported into a graph without a checkpoint,
CASES.remove(("import", "remove meta"))  # or into a checkpoint without a graph


@pytest.mark.parametrize(("command", "what"), CASES)
def test_a_damaged_model(
    attempt: Callable[[str, Path], str], small: Path, tmp_path: Path, command: str, what: str
) -> None:
    for path in small.parent.glob("small.ckpt.*"):
        shutil.copy(path, tmp_path)
    damage(tmp_path / "small.ckpt", what)
    assert f"{tmp_path}/{DAMAGES[what]}" in attempt(command, tmp_path / "small.ckpt")


@pytest.mark.parametrize("command", COMMANDS)
def test_no_model_at_all(attempt: Callable[[str, Path], str], data: Path, tmp_path: Path, command: str) -> None:
    assert attempt(command, tmp_path / "none").startswith(
        f"Error: {tmp_path}/none is missing: no such model or checkpoint"
    )
    (tmp_path / "empty").mkdir()
    assert attempt(command, tmp_path / "empty").startswith(f"Error: {tmp_path}/empty: ")
    if command != "import":  # which also fills a checkpoint without a graph
        assert attempt(command, data) == f"Error: {data}: not a graph but a zip archive (.npz, .keras or .pt)"


@pytest.mark.parametrize("command", [name for name in COMMANDS if "OUT" in COMMANDS[name]])
def test_an_output_that_cannot_be_written(shell: Any, small: Path, data: Path, tmp_path: Path, command: str) -> None:
    np.savez(tmp_path / "weights.npz", **{"hidden1/bias": np.zeros(8, np.float32)})
    (tmp_path / "taken.ckpt.index").write_text("mine")
    none = tmp_path / "none"
    refusals = {
        "taken.ckpt": f"{tmp_path}/taken.ckpt.index exists already; --overwrite replaces it",
        "none/out.ckpt": f"{none}/out.ckpt.meta: the folder {none} does not exist; `mkdir -p {none}` creates it",
        ".": f"{tmp_path} is a folder; expected a prefix such as {tmp_path}/model.ckpt",
    }
    before = sorted(tmp_path.rglob("*"))
    for output, refusal in refusals.items():
        names = {"MODEL": small, "DATA": data, "WEIGHTS": tmp_path / "weights.npz", "OUT": tmp_path / output}
        assert shell.error(*(names.get(word, word) for word in COMMANDS[command])) == refusal
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "taken.ckpt.index").read_text() == "mine"
