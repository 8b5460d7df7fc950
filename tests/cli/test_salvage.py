"""`salvage`: a whole checkpoint of the readable tensors, rows for the lost ones, and the exit code."""

from pathlib import Path
from typing import Any

from ckpttool import checkpoint


def damaged(copied: Path) -> Path:
    data = Path(f"{copied}.data-00000-of-00001")
    raw = bytearray(data.read_bytes())
    raw[8] ^= 1
    data.write_bytes(raw)
    return copied


def test_what_is_lost_is_listed_and_the_rest_is_whole(shell: Any, copied: Path, tmp_path: Path) -> None:
    names = set(checkpoint.open(copied))
    result = shell.run("salvage", damaged(copied), "-o", tmp_path / "saved.ckpt", exit_code=1)
    (line,) = result.stdout.splitlines()
    lost, why = line.split("\t")
    assert "checksum" in why and f"{len(names) - 1} tensors written and read back, 1 lost" in result.stderr
    assert set(checkpoint.open(tmp_path / "saved.ckpt")) == names - {lost}
    assert shell.run("verify", tmp_path / "saved.ckpt")
    assert "salvaged" in shell.run("log", tmp_path / "saved.ckpt").stdout


def test_a_plan_and_json_write_nothing(shell: Any, copied: Path, tmp_path: Path) -> None:
    document = shell.json("salvage", damaged(copied), "--plan", exit_code=1)
    assert len(document["lost"]) == 1 and document["format"] == "bundle" and document["saved"]
    shell.run("salvage", copied, "--plan", "-o", tmp_path / "x.npz", exit_code=1)
    assert not (tmp_path / "x.npz").exists()


def test_of_a_whole_checkpoint_nothing_is_lost(shell: Any, model: Path, tmp_path: Path) -> None:
    result = shell.run("salvage", model, "-o", tmp_path / "x.npz")
    assert result.stdout == "" and "nothing is lost" in result.stderr


def test_nothing_to_read(shell: Any, copied: Path, tmp_path: Path) -> None:
    Path(f"{copied}.data-00000-of-00001").unlink()
    assert "no tensor in it can be read" in shell.error("salvage", copied, "-o", tmp_path / "x.npz")
    assert not (tmp_path / "x.npz").exists()


def test_names_that_only_the_graph_knows(shell: Any, copied: Path, tmp_path: Path) -> None:
    """An entry that is lost with its block is known from the graph next to it."""
    values = {name: tensor.read() for name, tensor in checkpoint.open(copied).items()}
    first, *_ = values
    checkpoint.save({name: values[name] for name in values if name != first}, copied, overwrite=True)
    for data in copied.parent.glob("*.data-*"):
        raw = bytearray(data.read_bytes())
        raw[8:9] = bytes([raw[8] ^ 1]) if raw else b""
        data.write_bytes(raw)
    names = [line.split("\t")[0] for line in shell.lines("salvage", copied, "--plan", exit_code=1)]
    assert first in names
