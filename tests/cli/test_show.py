"""`show`: one tensor."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def test_a_small_tensor_is_shown_whole(shell: Any, tiny: Path) -> None:
    lines = shell.lines("show", tiny, "fc/kernel")
    assert lines[:4] == [
        "fc/kernel  [2, 3]  float32  24 bytes",
        "[[0., 1., 2.],",
        " [3., 4., 5.]]",
        "count 6  min 0  max 5  mean 2.5  std 1.70783  zeros 1  nan 0  inf 0  norm 7.4162",
    ]
    assert len(lines) == 4 + 20


def test_the_histogram_counts_as_numpy_does(shell: Any, model: Path) -> None:
    from ckpttool import checkpoint

    values = checkpoint.open(model)["hidden1/kernel"].read().astype(np.float64)
    found = shell.json("show", model, "hidden1/kernel")["histogram"]
    assert found["counts"] == np.histogram(values, found["edges"])[0].tolist()
    assert sum(found["counts"]) == values.size


def test_json_marks_what_is_not_finite(shell: Any, tiny: Path) -> None:
    found = shell.json("show", tiny, "fc/bias")
    assert found["values"] == [1.0, "NaN", "Infinity"]
    assert (found["summary"]["nan"], found["summary"]["inf"], found["summary"]["max"]) == (1, 1, 1.0)


def test_many_values_are_left_out_of_json_unless_asked_for(shell: Any, model: Path) -> None:
    assert shell.json("show", model, "hidden2/kernel")["values"] is None
    assert np.shape(shell.json("show", model, "hidden2/kernel", "--full")["values"]) == (300, 50)


def test_a_scalar(shell: Any, tiny: Path) -> None:
    assert shell.json("show", tiny, "global_step")["values"] == 7


def test_strings(shell: Any, tmp_path: Path) -> None:
    from ckpttool import checkpoint

    checkpoint.save({"vocabulary": np.array([b"one", b"t\x1bo"], object)}, tmp_path / "s.ckpt")
    found = shell.json("show", tmp_path / "s.ckpt", "vocabulary")
    assert (found["values"], found["summary"], found["histogram"]) == (["one", "t\x1bo"], None, None)
    assert "\x1b" not in shell.run("show", tmp_path / "s.ckpt", "vocabulary").stdout


def test_an_empty_tensor(shell: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "e.npz", empty=np.zeros((0, 3), np.float32))
    found = shell.json("show", tmp_path / "e.npz", "empty")
    assert found["summary"]["count"] == 0
    assert found["summary"]["mean"] is None


def test_a_name_that_is_not_there(shell: Any, tiny: Path) -> None:
    assert shell.error("show", tiny, "fc/kernl").startswith(f"{tiny}: no tensor named fc/kernl; nearest: fc/kernel")
    assert shell.error("show", tiny, "fc").startswith(f"{tiny}: fc is a layer, expected one of its tensors: fc/bias")


def test_a_flipped_value(shell: Any, tiny: Path, flip: Callable[[Path, int], None]) -> None:
    flip(Path(f"{tiny}.data-00000-of-00001"), 14)
    assert "fc/kernel" in shell.error("show", tiny, "fc/kernel")


def test_filters_are_drawn_where_it_is_said(shell: Any, tmp_path: Path) -> None:
    from ckpttool import checkpoint

    checkpoint.save({"hidden1/kernel": np.zeros((16, 5), np.float32)}, tmp_path / "m.ckpt")
    asked = ("show", tmp_path / "m.ckpt", "hidden1")
    drawn = ("--filters", "-o", tmp_path / "f.png")
    assert shell.json(*asked, *drawn)["tensor"] == "hidden1/kernel"
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
    assert "exists" in shell.error(*asked, *drawn)
    assert "--filters requires -o FILE" in shell.error(*asked, "--filters")
    assert "--output" in shell.error(*asked, "--filters", "-o", tmp_path / "f.gif")
