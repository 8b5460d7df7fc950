"""`vars`: the content of a checkpoint."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def test_a_checkpoint_without_a_graph(shell: Any, tiny: Path) -> None:
    assert shell.lines("vars", tiny) == [
        "fc/bias\t[3]\tfloat32\t12\tweight",
        "fc/kernel\t[2, 3]\tfloat32\t24\tweight",
        "fc/kernel/Momentum\t[2, 3]\tfloat32\t24\tslot",
        "global_step\t[]\tint64\t8\tstep",
    ]


def test_json_rows(shell: Any, tiny: Path) -> None:
    assert shell.json("vars", tiny)[1] == {
        "name": "fc/kernel",
        "shape": [2, 3],
        "dtype": "float32",
        "bytes": 24,
        "kind": "weight",
    }


def test_every_file_of_a_checkpoint_means_it(shell: Any, model: Path) -> None:
    expected = shell.lines("vars", model)
    assert len(expected) == 12
    for suffix in (".index", ".meta", ".data-00000-of-00001"):
        assert shell.lines("vars", f"{model}{suffix}") == expected


def test_layers_take_weights_and_with_slots_everything_below(shell: Any, tiny: Path) -> None:
    names = [row["name"] for row in shell.json("vars", tiny, "--layers", "fc")]
    assert names == ["fc/bias", "fc/kernel"]
    names = [row["name"] for row in shell.json("vars", tiny, "--layers", "fc", "--slots")]
    assert names == ["fc/bias", "fc/kernel", "fc/kernel/Momentum"]


def test_statistics_are_those_of_numpy(shell: Any, model: Path) -> None:
    from ckpttool import checkpoint

    (row,) = shell.json("vars", model, "--layers", "hidden1/kernel", "--stats")
    values = checkpoint.open(model)["hidden1/kernel"].read().astype(np.float64)
    assert np.allclose([row["mean"], row["std"]], [values.mean(), values.std()], rtol=1e-12)
    assert [row["min"], row["max"], row["zeros"]] == [values.min(), values.max(), np.sum(values == 0)]


def test_nan_and_infinity_are_counted_and_json_stays_json(shell: Any, tiny: Path) -> None:
    (row,) = shell.json("vars", tiny, "--layers", "fc/bias", "--stats")
    assert (row["nan"], row["inf"], row["mean"], row["std"]) == (1, 1, 1.0, 0.0)


def test_an_npz(shell: Any, tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    np.savez(path, **{"fc/bias": np.zeros(3, np.float32)})
    assert shell.lines("vars", path) == ["fc/bias\t[3]\tfloat32\t12\tweight"]


def test_a_graph_alone_lists_its_variables(shell: Any, model: Path, tmp_path: Path) -> None:
    meta = tmp_path / "graph.meta"
    meta.write_bytes(Path(f"{model}.meta").read_bytes())
    result = shell.run("vars", meta)
    assert "hidden1/kernel\t[784, 300]\tfloat32\t940800\tweight" in result.stdout.splitlines()
    assert result.stderr == f"{meta}: a graph without a checkpoint; these are its variables\n"


def test_a_graph_that_cannot_be_read_is_said_and_names_tell_the_kinds(shell: Any, copied: Path) -> None:
    Path(f"{copied}.meta").write_bytes(b"not a graph")
    result = shell.run("vars", copied)
    assert len(result.stdout.splitlines()) == 12
    assert result.stderr.startswith("kinds are determined only from the names: ")


def test_names_cannot_write_to_the_terminal(shell: Any, tmp_path: Path) -> None:
    np.savez(tmp_path / "evil.npz", **{"fc\x1b[31m\tx": np.zeros(1)})
    assert shell.lines("vars", tmp_path / "evil.npz") == ["fc\\x1b[31m\\tx\t[1]\tfloat64\t8\tweight"]


def test_a_pattern_without_a_match(shell: Any, model: Path) -> None:
    assert shell.error("vars", model, "--layers", "hiden1").startswith("pattern 'hiden1' matches nothing; nearest: hid")


def test_nothing_there(shell: Any, tmp_path: Path) -> None:
    assert shell.error("vars", tmp_path / "none.ckpt").startswith(f"{tmp_path / 'none.ckpt'} is missing")


def test_a_folder_without_a_checkpoint(shell: Any, tmp_path: Path) -> None:
    assert "without a checkpoint" in shell.error("vars", tmp_path)


def test_a_truncated_index(shell: Any, tiny: Path) -> None:
    index = Path(f"{tiny}.index")
    index.write_bytes(index.read_bytes()[:-1])
    assert str(index) in shell.error("vars", tiny)


def test_a_flipped_index(shell: Any, tiny: Path, flip: Callable[[Path, int], None]) -> None:
    flip(Path(f"{tiny}.index"), 12)
    assert str(tiny) in shell.error("vars", tiny)


def test_a_flipped_value_is_found_when_it_is_read(shell: Any, tiny: Path, flip: Callable[[Path, int], None]) -> None:
    flip(Path(f"{tiny}.data-00000-of-00001"), 14)
    assert "fc/kernel" in shell.error("vars", tiny, "--layers", "fc/kernel", "--stats")
