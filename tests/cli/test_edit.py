"""`edit`: options and scripts, their order, plans, rejected edits, and what TensorFlow reads."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint

VALUES = {
    "hidden1/bias": np.array([1, 2, 3], np.float32),
    "hidden1/kernel": np.arange(6, dtype=np.float32).reshape(2, 3),
    "hidden1/kernel/Momentum": np.ones((2, 3), np.float32),
    "outputs/kernel": np.full((3, 2), 0.5, np.float32),
    "global_step": np.array(7, np.int64),
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    checkpoint.save(VALUES, tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


def values(path: Path) -> dict[str, Any]:
    return {name: tensor.read().tolist() for name, tensor in checkpoint.open(path).items()}


def test_tensorflow_reads_what_was_edited(shell: Any, source: Path, tmp_path: Path) -> None:
    import tensorflow as tf

    edits = ["--drop-slots", "--rename", r"hidden(\d)=>fc\1", "--cast", "fc1/bias=bfloat16", "--add-prefix", "net"]
    more = ["--resize", ".*/outputs/kernel = to(3, axis=1, fill=zeros)", "--transpose", "net/fc1/kernel=1,0"]
    result = shell.run("edit", source, *edits, *more, "-o", tmp_path / "out.ckpt")
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        "dropped: hidden1/kernel/Momentum",
        f"{tmp_path}/out.ckpt: written and read back as bundle, 4 tensors (74 bytes)",
    ]
    path = str(tmp_path / "out.ckpt")
    assert tf.train.list_variables(path) == [
        ("net/fc1/bias", [3]),
        ("net/fc1/kernel", [3, 2]),
        ("net/global_step", []),
        ("net/outputs/kernel", [3, 3]),
    ]
    assert tf.train.load_variable(path, "net/fc1/kernel").tolist() == [[0, 3], [1, 4], [2, 5]]
    assert tf.train.load_variable(path, "net/outputs/kernel").tolist() == [[0.5, 0.5, 0]] * 3
    assert tf.train.load_checkpoint(path).get_variable_to_dtype_map()["net/fc1/bias"] == tf.bfloat16


def test_the_order_counts(shell: Any, source: Path, tmp_path: Path) -> None:
    drop, rename = ["--drop", "hidden1"], ["--rename", "outputs=>hidden1"]
    shell.run("edit", source, *drop, *rename, "-o", tmp_path / "a.ckpt")
    assert set(values(tmp_path / "a.ckpt")) == {"hidden1/kernel", "global_step"}
    message = shell.error("edit", source, *rename, *drop, "-o", tmp_path / "b.ckpt")
    assert message == (
        "--rename 'outputs=>hidden1': hidden1/kernel and outputs/kernel would both be named hidden1/kernel"
    )
    twice = ["--rename", "outputs=>x", "--drop", "x", "--rename", "hidden1=>outputs"]
    shell.run("edit", source, *twice, "-o", tmp_path / "c.ckpt")
    assert "outputs/bias" in values(tmp_path / "c.ckpt")


def test_a_script_is_the_same_as_its_options(shell: Any, source: Path, tmp_path: Path) -> None:
    script = tmp_path / "edit.toml"
    script.write_text(
        '[[edit]]\nrename = "hidden1=>fc"\n\n[[edit]]\ndrop-slots = true\n\n[[edit]]\nset = "fc/bias=5"\n'
        '[[edit]]\nresize = "fc/kernel = to(4, axis=-1, fill=normal)"\n'
    )
    first, last = ["--prune", "hidden1/kernel=0.5"], ["--cast", "float16"]
    said = ["--rename", "hidden1=>fc", "--drop-slots", "--set", "fc/bias=5"]
    said += ["--resize", "fc/kernel = to(4, axis=-1, fill=normal)"]
    shell.run("edit", source, *first, *said, *last, "-o", tmp_path / "a.ckpt")
    shell.run("edit", source, *first, "--script", script, *last, "-o", tmp_path / "b.ckpt")
    assert shell.run("diff", tmp_path / "a.ckpt", tmp_path / "b.ckpt").stdout == ""
    assert values(tmp_path / "b.ckpt")["fc/bias"][:3] == [5, 5, 5]


def test_a_mistake_in_a_script_is_said_with_its_entry(shell: Any, source: Path, tmp_path: Path) -> None:
    script = tmp_path / "edit.toml"
    script.write_text('[[edit]]\ndrop-slots = true\n[[edit]]\nkeep = "hiden1"\n')
    message = shell.error("edit", source, "--script", script, "-o", tmp_path / "out.ckpt")
    assert message.startswith(f"{script}, edit 2, keep 'hiden1': pattern 'hiden1' matches nothing; nearest: hidden1")
    assert "No such file" in shell.error("edit", source, "--script", tmp_path / "none.toml", "-o", tmp_path / "o")


def test_a_plan_says_what_becomes_of_each_tensor(shell: Any, source: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    edits = [
        "--drop",
        "hidden1/bias",
        "--rename",
        "hidden1=>fc",
        "--quantise",
        "fc/kernel=int8",
        "--transpose",
        "outputs=1,0",
    ]
    rows = shell.json("edit", source, *edits, "--plan")
    assert rows == [
        {"source": "global_step", "target": "global_step", "shape": [], "dtype": "int64", "edits": []},
        {
            "source": "hidden1/kernel",
            "target": "fc/kernel",
            "shape": [2, 3],
            "dtype": "int8",
            "edits": ["rename hidden1=>fc", "quantise fc/kernel=int8"],
        },
        {
            "source": None,
            "target": "fc/kernel/scale",
            "shape": [],
            "dtype": "float32",
            "edits": ["quantise fc/kernel=int8"],
        },
        {
            "source": "hidden1/kernel/Momentum",
            "target": "fc/kernel/Momentum",
            "shape": [2, 3],
            "dtype": "float32",
            "edits": ["rename hidden1=>fc"],
        },
        {
            "source": "outputs/kernel",
            "target": "outputs/kernel",
            "shape": [2, 3],
            "dtype": "float32",
            "edits": ["transpose outputs=1,0"],
        },
        {"source": "hidden1/bias", "target": None, "shape": [3], "dtype": "float32", "edits": ["drop hidden1/bias"]},
    ]
    lines = shell.lines("edit", source, *edits, "--plan", "-o", tmp_path / "out.ckpt")
    assert lines[1] == (
        "hidden1/kernel\tfc/kernel\t[2, 3]\tfloat32 -> int8\trename hidden1=>fc, quantise fc/kernel=int8"
    )
    assert lines[4] == "outputs/kernel\toutputs/kernel\t[3, 2] -> [2, 3]\tfloat32\ttranspose outputs=1,0"
    assert sorted(tmp_path.iterdir()) == before


def test_pruning_says_how_sparse_the_result_is(shell: Any, source: Path, tmp_path: Path) -> None:
    result = shell.run(
        "edit", source, "--prune", "hidden1/kernel=0.5", "--prune", "outputs=magnitude(1)", "-o", tmp_path / "o"
    )
    assert result.stderr.splitlines()[:2] == ["hidden1/kernel: 50.0% zeros", "outputs/kernel: 100.0% zeros"]
    assert values(tmp_path / "o")["hidden1/kernel"] == [[0, 0, 0], [3, 4, 5]]


def test_what_is_quantised_can_be_made_floats_again(shell: Any, source: Path, tmp_path: Path) -> None:
    shell.run("edit", source, "--quantise", "int8", "-o", tmp_path / "small.safetensors")
    shell.run("edit", tmp_path / "small.safetensors", "--dequantise", "float32", "-o", tmp_path / "large.ckpt")
    found = shell.json("diff", source, tmp_path / "large.ckpt", exit_code=1)
    assert (found["only_a"], found["only_b"]) == ([], [])
    assert max(change["relative"] for change in found["changed"]) <= 0.5 / 127


def test_lenient_goes_on_and_lists(shell: Any, source: Path, tmp_path: Path) -> None:
    edits = ["--drop", "hiden1", "--cast", "global_step=int32"]
    assert shell.error("edit", source, *edits, "-o", tmp_path / "o").startswith(
        "--drop 'hiden1': pattern 'hiden1' matches"
    )
    result = shell.run("edit", source, *edits, "--lenient", "-o", tmp_path / "o")
    assert result.stderr.startswith("skipped: --drop 'hiden1': pattern 'hiden1' matches nothing; nearest: hidden1")
    assert str(checkpoint.open(tmp_path / "o")["global_step"].dtype) == "int32"


def test_slots_count_where_they_are_asked_for(shell: Any, source: Path, tmp_path: Path) -> None:
    shell.run("edit", source, "--cast", "float16", "-o", tmp_path / "a")
    shell.run("edit", source, "--cast", "float16", "--slots", "-o", tmp_path / "b")
    slots = [str(checkpoint.open(tmp_path / name)["hidden1/kernel/Momentum"].dtype) for name in "ab"]
    assert slots == ["float32", "float16"]


def test_rows_are_lost_only_when_asked(shell: Any, source: Path, tmp_path: Path) -> None:
    edit = ["edit", source, "--resize", "outputs/kernel = to(2)", "-o", tmp_path / "o"]
    assert "outputs/kernel is [3, 2]: 1 of 3 along axis 0 would be lost; --allow-truncate allows that" in shell.error(
        *edit
    )
    shell.run(*edit, "--allow-truncate")
    assert checkpoint.open(tmp_path / "o")["outputs/kernel"].shape == (2, 2)


def test_the_seed_decides_what_is_drawn(shell: Any, source: Path, tmp_path: Path) -> None:
    edit = ["edit", source, "--resize", "hidden1/kernel = to(4, fill=normal)"]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        shell.run(*edit, "--seed", str(seed), "-o", tmp_path / name)
    shell.run("diff", tmp_path / "a", tmp_path / "b")
    shell.run("diff", tmp_path / "a", tmp_path / "c", exit_code=1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cast", "float15"], "--cast 'float15': no dtype is named 'float15'"),
        (["--set", "hidden1/bias=1e39"], "hidden1/bias: 1e+39 does not fit into float32"),
        (["--cast", "hidden1=int8", "--set", "hidden1/bias=300"], "hidden1/bias: 300 does not fit into int8"),
        (["--set", "hidden1/kernel=100000", "--cast", "float16"], "hidden1/kernel: 100000.0 does not fit into float16"),
        (["--drop", ".*"], "nothing would be left of 5 tensors"),
        (["--transpose", "hidden1=1,0"], "hidden1/bias is [3]: 1,0 is not an order of 1 dimension"),
        (["--to", "keras"], "keras"),
        (["--kep", "x"], "No such option '--kep'"),
        (["--resize", "hidden1 = to(3, fill=mode)"], "no fill mode; known: mean, zeros, normal, rows; nearest: "),
    ],
)  # fmt: skip
def test_wrong_uses_are_refused(shell: Any, source: Path, tmp_path: Path, options: list[str], message: str) -> None:
    before = sorted(tmp_path.iterdir())
    assert message in shell.error("edit", source, *options, "-o", tmp_path / "out")
    assert sorted(tmp_path.iterdir()) == before


def test_without_an_edit_a_copy_is_written_and_told(shell: Any, source: Path, tmp_path: Path) -> None:
    result = shell.run("edit", source, "-o", tmp_path / "copy.ckpt")
    assert "no edit is specified: the values are copied as they are\n" in result.stderr
    assert values(tmp_path / "copy.ckpt") == values(source)


def test_the_source_is_not_written_over(shell: Any, source: Path) -> None:
    assert "exists already; --overwrite replaces it" in shell.error("edit", source, "--drop-slots", "-o", source)
    shell.run("edit", source, "--rename", "hidden1=>fc", "--drop-slots", "-o", source, "--overwrite")
    assert values(source)["fc/bias"] == [1, 2, 3]


def test_a_graph_says_what_slots_are(shell: Any, tiny: Path, model: Path, tmp_path: Path) -> None:
    assert shell.error("edit", model, "--drop-slots", "--plan") == ("--drop-slots: there are no slots")
    assert "the graph" not in shell.run("edit", tiny, "--drop-slots", "-o", tmp_path / "p.ckpt").stderr


def test_the_graph_follows_or_is_left_behind(shell: Any, model: Path, tmp_path: Path) -> None:
    edit = ["edit", model, "--rename", r"hidden(\d)=>fc\1"]
    assert shell.run(*edit, "-o", tmp_path / "a.ckpt").stderr.splitlines() == [
        f"the graph follows: {model}.meta",
        f"{tmp_path}/a.ckpt: written and read back as bundle, 12 tensors (1034840 bytes) and the graph",
    ]
    assert "fc1/kernel" in shell.run("ops", tmp_path / "a.ckpt").stdout
    alone = f"the graph of {model} is not written: the output is a checkpoint without a graph"
    assert alone in shell.run(*edit, "--no-graph", "-o", tmp_path / "b.ckpt").stderr
    assert alone in shell.run(*edit, "-o", tmp_path / "c.npz").stderr
    assert sorted(path.name for path in tmp_path.glob("*.meta")) == ["a.ckpt.meta"]
    assert shell.error("edit", model, "--drop", "outputs", "--plan", "-o", tmp_path / "d.ckpt") == (
        f"{model}.meta: outputs/kernel cannot be dropped: it is needed by dnn/outputs/BiasAdd:0, loss/loss:0, "
        "eval/accuracy:0; --no-graph writes the checkpoint alone"
    )


def test_other_formats_are_edited_too(shell: Any, source: Path, tmp_path: Path) -> None:
    shell.run("edit", source, "--drop-slots", "-o", tmp_path / "a.safetensors")
    shell.run("edit", tmp_path / "a.safetensors", "--add-prefix", "net", "--to", "npz", "-o", tmp_path / "b")
    assert set(np.load(tmp_path / "b", allow_pickle=False)) == {
        "net/global_step",
        "net/hidden1/bias",
        "net/hidden1/kernel",
        "net/outputs/kernel",
    }


def test_an_edit_whose_value_may_be_missing_leaves_the_source_alone(shell: Any, tmp_path: Path) -> None:
    parts = {"weight": 2.0, "bias": 1.0, "running_mean": 3.0, "running_var": 4.0}
    values = {f"bn1.{part}": np.array([value], np.float32) for part, value in parts.items()}
    source = tmp_path / "net.safetensors"
    checkpoint.save({"conv1.weight": np.ones((1, 2, 1, 1), np.float32), **values}, source)
    for number, given in enumerate((["--fold-batch-norm", source], [source, "--fold-batch-norm", "conv1=bn1"])):
        out = tmp_path / f"{number}.npz"
        shell.run("edit", *given, "-o", out)
        assert list(checkpoint.open(out)) == ["conv1.weight", "conv1.bias"]
