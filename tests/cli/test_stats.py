"""`stats`: statistics of tensors compared with NumPy's, the row of all weights, and NaN."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.graph import files


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    values = {
        "fc/bias": np.array([0.0, 1.0, 2.0], np.float32),
        "fc/kernel": np.arange(6, dtype=np.float32).reshape(2, 3) - 2,
        "fc/kernel/Momentum": np.ones((2, 3), np.float32),
        "words": np.array([b"a"], object),
    }
    checkpoint.save(values, tmp_path / "whole.ckpt")
    return tmp_path / "whole.ckpt"


def test_rows_are_those_of_numpy(shell: Any, model: Path) -> None:
    found = shell.json("stats", model)
    opened = checkpoint.open(model)
    assert {row["name"] for row in found["tensors"]} == set(opened)
    for row in [*found["tensors"], found["total"]]:
        names = (
            [row["name"]] if row["name"] in opened else [n for n, kind in opened.kinds().items() if kind == "weight"]
        )
        values = np.concatenate([opened[name].read().astype(np.float64).ravel() for name in names])
        assert (row["count"], row["zeros"], row["nan"], row["inf"]) == (values.size, (values == 0).sum(), 0, 0)
        assert (row["min"], row["max"]) == (values.min(), values.max())
        assert np.allclose([row["mean"], row["std"]], [values.mean(), values.std()], rtol=1e-9, atol=1e-12)
        assert np.isclose(row["norm"], np.linalg.norm(values), rtol=1e-9)
    assert found["finite"] is True


def test_a_histogram_has_all_numbers(shell: Any, model: Path) -> None:
    (row,) = shell.json("stats", model, "--layers", "hidden1/kernel")["tensors"]
    values = checkpoint.open(model)["hidden1/kernel"].read().astype(np.float64)
    assert row["counts"] == np.histogram(values, row["edges"])[0].tolist()
    assert len(row["histogram"]) == len(row["counts"]) == 12


def test_a_pipe_gets_a_line_per_tensor_and_one_of_all_weights(shell: Any, whole: Path) -> None:
    assert shell.lines("stats", whole) == [
        "fc/bias\tweight\t3\t1\t0.816497\t0\t2\t1\t0\t0\t2.23607",
        "fc/kernel\tweight\t6\t0.5\t1.70783\t-2\t3\t1\t0\t0\t4.3589",
        "fc/kernel/Momentum\tslot\t6\t1\t0\t1\t1\t0\t0\t0\t2.44949",
        "all weights\tweight\t9\t0.666667\t1.49071\t-2\t3\t2\t0\t0\t4.89898",
    ]
    assert len(shell.lines("stats", whole, "--layers", "fc")) == 3
    assert len(shell.lines("stats", whole, "--layers", "fc", "--slots")) == 4


def test_people_see_a_histogram(shell: Any, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CKPTTOOL_TABLE", "1")
    monkeypatch.setenv("COLUMNS", "200")
    lines = shell.lines("stats", whole)
    assert lines[0].split()[-2:] == ["norm", "histogram"]
    assert "█" in lines[1]


def test_nan_and_infinities_are_an_answer(shell: Any, tiny: Path) -> None:
    found = shell.json("stats", tiny, exit_code=1)
    assert (found["finite"], found["total"]["nan"], found["total"]["inf"]) == (False, 1, 1)
    shell.run("stats", tiny, "--layers", "fc/kernel")


def test_vars_says_the_same(shell: Any, tiny: Path) -> None:
    fields = ("mean", "std", "min", "max", "zeros", "nan", "inf", "norm")
    by_stats, by_vars = shell.json("stats", tiny, exit_code=1)["tensors"], shell.json("vars", tiny, "--stats")
    assert [[row[field] for field in fields] for row in by_stats] == [[row[f] for f in fields] for row in by_vars]


def test_nothing_but_strings(shell: Any, tmp_path: Path) -> None:
    checkpoint.save({"words": np.array([b"a"], object)}, tmp_path / "x")
    assert shell.lines("stats", tmp_path / "x") == ["all weights\tweight\t0\t\t\t\t\t0\t0\t0\t0"]


def test_a_graph_without_weights_and_a_picture_are_named(shell: Any, model: Path, tmp_path: Path) -> None:
    graph = files.load(f"{model}.meta").meta.graph_def
    (tmp_path / "bare.pb").write_bytes(graph.SerializeToString())
    line = shell.error("stats", tmp_path / "bare.pb")
    assert line.endswith("bare.pb is a graph without weights: specify the checkpoint that has them")
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    assert "cat.jpg is a picture, which is not supported: a folder" in shell.error("stats", tmp_path / "cat.jpg")
    (tmp_path / "other.pb").write_bytes(b"\1\2\3\4")
    assert "its bytes are none of these" in shell.error("stats", tmp_path / "other.pb")


def test_bad_input(shell: Any, whole: Path, flip: Callable[[Path, int], None], tmp_path: Path) -> None:
    assert "matches nothing; nearest: fc" in shell.error("stats", whole, "--layers", "fx")
    assert "is missing" in shell.error("stats", tmp_path / "none")
    flip(Path(f"{whole}.data-00000-of-00001"), 14)
    assert "fc/kernel" in shell.error("stats", whole)


def test_the_library_warns_of_nothing(shell: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, w=np.array([[1, 0x7F800001]], np.uint32).view(np.float32), huge=np.full((2, 2), 1e300))
    for command, *rest, code in (("stats", 1), ("diff", path, 0), ("show", "w", 0), ("vars", "--stats", 0)):
        assert "Warning" not in shell.run(command, path, *rest, exit_code=code).stderr
