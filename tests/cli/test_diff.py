"""`diff`: the changes from one checkpoint to another."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

A = {"fc/bias": np.array([1.0, 2.0], np.float32), "fc/kernel": np.eye(2, dtype=np.float32), "old": np.zeros(1)}
B = {"fc/bias": np.array([1.0, 4.0], np.float32), "fc/kernel": np.eye(2, dtype=np.float32), "new": np.zeros(1)}


def saved(folder: Path, name: str, values: dict[str, Any]) -> Path:
    np.savez(folder / name, **values)
    return folder / name


def test_two_checkpoints_that_differ(shell: Any, tmp_path: Path) -> None:
    a, b = saved(tmp_path, "a.npz", A), saved(tmp_path, "b.npz", B)
    result = shell.run("diff", a, b, exit_code=1)
    assert result.stdout.splitlines() == [
        "old\tonly in A\t\t\t\t",
        "new\tonly in B\t\t\t\t",
        "fc/bias\tvalues\t2\t1\t0.894427\t0.976187",
    ]
    assert result.stderr.splitlines() == [
        "1 same, 1 changed, 1 only in A, 1 only in B",
        "moved most: fc 0.756",
        "verdict: spread over all 3 layers, by 75.6 % of its norm; 1 layer only in A: old; 1 layer only in B: new",
    ]


def test_layers_by_how_far_they_moved(shell: Any, tmp_path: Path) -> None:
    layers = {"low/kernel": 1.0, "mid/kernel": 2.0, "top/kernel": 2.0, "top/kernel/Momentum": 0.0, "global_step": 3.0}
    tuned = layers | {"mid/kernel": 2.1, "top/kernel": 3.0, "top/kernel/Momentum": 9.0, "global_step": 4.0}
    a, b = saved(tmp_path, "a.npz", layers), saved(tmp_path, "b.npz", tuned)
    result = shell.run("diff", a, b, "--by-layer", exit_code=1)
    assert result.stdout.splitlines() == ["top\tmoved\t0.5\t1\t1", "mid\tmoved\t0.05\t1\t1", "low\tunchanged\t0\t1\t0"]
    assert result.stderr.splitlines()[1:] == [
        "moved most: top 0.5, mid 0.05",
        "unchanged layers: low",
        "verdict: 2 of 3 layers moved: top, mid",
    ]
    assert [line.split("\t")[0] for line in shell.lines("diff", a, b, exit_code=1)] == [
        "mid/kernel",
        "top/kernel",
        "top/kernel/Momentum",
        "global_step",
    ]


def test_some_layers(shell: Any, tmp_path: Path) -> None:
    a = saved(tmp_path, "a.npz", {"fc/kernel": np.ones(2), "fc/kernel/Momentum": np.zeros(2), "out/bias": np.ones(1)})
    b = saved(tmp_path, "b.npz", {"fc/kernel": np.ones(2), "fc/kernel/Momentum": np.ones(2), "out/bias": np.zeros(1)})
    assert shell.json("diff", a, b, "--layers", "fc")["same"] == ["fc/kernel"]
    found = shell.json("diff", a, b, "--layers", "fc", "--slots", exit_code=1)
    assert [(change["name"], change["kind"]) for change in found["changed"]] == [("fc/kernel/Momentum", "slot")]
    assert "pattern 'fd' matches nothing" in shell.error("diff", a, b, "--layers", "fd")


def test_what_has_gone_wrong_is_named(shell: Any, tmp_path: Path) -> None:
    a = saved(tmp_path, "a.npz", {"fc/kernel": np.ones((3, 2), np.float32)})
    b = saved(tmp_path, "b.npz", {"fc/kernel": np.array([[0, np.nan], [0, np.inf], [0, 0]], np.float32)})
    (line,) = shell.lines("diff", a, b, exit_code=1)
    assert line.split("\t")[1] == "values, 1 NaN, 1 infinite, 1 dead rows, 1 dead columns"


def test_json(shell: Any, tmp_path: Path) -> None:
    a, b = saved(tmp_path, "a.npz", A), saved(tmp_path, "b.npz", B)
    assert shell.json("diff", a, b, exit_code=1) == {
        "only_a": ["old"],
        "only_b": ["new"],
        "changed": [
            {
                "name": "fc/bias",
                "max_abs": 2.0,
                "relative": 1.0,
                "why": "values",
                "distance": 2.0,
                "norm": pytest.approx(5**0.5),
                "cosine": pytest.approx(9 / 85**0.5),
                "nan": 0,
                "inf": 0,
                "dead_rows": 0,
                "dead_columns": 0,
                "factor": 1.8,
                "relative_l2": pytest.approx(2 / 5**0.5),
                "kind": "weight",
            }
        ],
        "same": ["fc/kernel"],
        "layers": [
            {"name": "fc", "difference": "moved", "relative_l2": pytest.approx(2 / 7**0.5), "tensors": 2, "changed": 1},
            {"name": "old", "difference": "only in A", "relative_l2": None, "tensors": 1, "changed": 1},
            {"name": "new", "difference": "only in B", "relative_l2": None, "tensors": 1, "changed": 1},
        ],
        "verdict": {
            "kind": "all",
            "text": "spread over all 3 layers, by 75.6 % of its norm; 1 layer only in A: old; 1 layer only in B: new",
            "rank": None,
        },
        "spectra": [],
    }


def test_a_checkpoint_does_not_differ_from_itself(shell: Any, model: Path) -> None:
    result = shell.run("diff", model, model)
    assert (result.stdout, result.stderr) == ("", "12 same\nverdict: nothing moved\n")


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


def test_an_adapter_is_told_by_its_rank(shell: Any, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    layers = {f"layer{number}/kernel": draw.normal(size=(80, 60)).astype(np.float32) for number in range(3)}
    change = (draw.normal(size=(80, 4)) @ draw.normal(size=(4, 60))).astype(np.float32) / 100
    merged = {name: array + change * (name != "layer2/kernel") for name, array in layers.items()}
    a, b = saved(tmp_path, "a.npz", layers), saved(tmp_path, "b.npz", merged)
    found = shell.json("diff", a, b, exit_code=1)
    assert found["verdict"] == {
        "kind": "low rank",
        "text": "low rank: looks like an adapter of rank 4; 2 of 3 layers moved",
        "rank": 4,
    }
    assert [(each["name"], each["rank"], each["of"]) for each in found["spectra"]] == [
        ("layer0/kernel", 4, 60),
        ("layer1/kernel", 4, 60),
    ]


def test_all_singular_values_where_they_are_asked_for(shell: Any, tmp_path: Path) -> None:
    draw = np.random.default_rng(4)
    before = {name: draw.normal(size=(12, 9)).astype(np.float32) for name in ("low/kernel", "top/kernel")}
    after = {**before, "top/kernel": draw.normal(size=(12, 9)).astype(np.float32)}  # nothing of it is unchanged
    after |= {"low/kernel": before["low/kernel"] + np.outer(np.arange(12), np.ones(9)).astype(np.float32)}
    a, b = saved(tmp_path, "a.npz", before), saved(tmp_path, "b.npz", after)
    found = {each["name"]: each for each in shell.json("diff", a, b, "--spectra", exit_code=1)["spectra"]}
    for name, spectrum in found.items():
        expected = np.linalg.svd(after[name].astype(float) - before[name], compute_uv=False)
        np.testing.assert_allclose(spectrum["singular_values"], expected, rtol=1e-5, atol=1e-6)
        assert spectrum["effective_rank"] == pytest.approx((expected**2).sum() ** 2 / (expected**4).sum(), rel=1e-5)
        assert 0 < spectrum["rank_90"] <= spectrum["rank_99"] <= spectrum["of"] == 9
    assert (found["low/kernel"]["rank_99"], found["top/kernel"]["rank"]) == (1, None)
    assert "singular_values" not in shell.json("diff", a, b, exit_code=1)["spectra"][0]
    rows = [line.split("\t") for line in shell.lines("diff", a, b, "--spectra", exit_code=1)]
    assert (rows[0][0], rows[0][6:]) == ("low/kernel", ["1", "1"])
    page = tmp_path / "page.html"
    shell.run("diff", a, b, "--spectra", "--html", page, exit_code=1)
    assert "90 % in 1 direction, 99 % in 1" in page.read_text()
    assert "--patch" in shell.error("diff", a, b, "--patch", "-o", tmp_path / "p", "--spectra")
