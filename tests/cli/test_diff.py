"""`diff`: what changed from one checkpoint to another."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

A = {"fc/bias": np.array([1.0, 2.0], np.float32), "fc/kernel": np.eye(2, dtype=np.float32), "old": np.zeros(1)}
B = {"fc/bias": np.array([1.0, 4.0], np.float32), "fc/kernel": np.eye(2, dtype=np.float32), "new": np.zeros(1)}


def saved(folder: Path, name: str, values: dict[str, Any]) -> Path:
    np.savez(folder / name, **values)
    return folder / name


def test_two_checkpoints_that_differ(shell: Any, tmp_path: Path) -> None:
    a, b = saved(tmp_path, "a.npz", A), saved(tmp_path, "b.npz", B)
    result = shell.run("diff", a, b, exit_code=1)
    assert result.stdout.splitlines() == [
        "old\tonly in A\t\t",
        "new\tonly in B\t\t",
        "fc/bias\tvalues\t2\t1",
    ]
    assert result.stderr == "1 same, 1 changed, 1 only in A, 1 only in B\n"


def test_json(shell: Any, tmp_path: Path) -> None:
    a, b = saved(tmp_path, "a.npz", A), saved(tmp_path, "b.npz", B)
    assert shell.json("diff", a, b, exit_code=1) == {
        "only_a": ["old"],
        "only_b": ["new"],
        "changed": [{"name": "fc/bias", "max_abs": 2.0, "relative": 1.0, "why": "values"}],
        "same": ["fc/kernel"],
    }


def test_a_checkpoint_does_not_differ_from_itself(shell: Any, model: Path) -> None:
    result = shell.run("diff", model, model)
    assert (result.stdout, result.stderr) == ("", "12 same\n")


def test_formats_do_not_count(shell: Any, tiny: Path, tmp_path: Path) -> None:
    from ckpttool import checkpoint

    checkpoint.save(checkpoint.open(tiny), tmp_path / "tiny.npz")
    assert shell.json("diff", tiny, tmp_path / "tiny.npz")["changed"] == []


def test_a_missing_side(shell: Any, model: Path, tmp_path: Path) -> None:
    assert "none.ckpt is missing" in shell.error("diff", model, tmp_path / "none.ckpt")


def test_damage_is_an_error_and_not_a_difference(
    shell: Any, model: Path, copied: Path, flip: Callable[[Path, int], None]
) -> None:
    flip(Path(f"{copied}.data-00000-of-00001"), 10)
    assert "hidden1/bias" in shell.error("diff", model, copied)
