"""`merge`: parts become a model, several models become one, and rejected merges."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint


def written(path: Path, **layers: float) -> Path:
    checkpoint.save({f"{name}/kernel": np.full((2, 2), value, np.float32) for name, value in layers.items()}, path)
    return path


def values(path: Path) -> dict[str, Any]:
    return {name: tensor.read().ravel().tolist() for name, tensor in checkpoint.open(path).items()}


def test_tensorflow_reads_a_union(shell: Any, tmp_path: Path) -> None:
    import tensorflow as tf

    low, top = written(tmp_path / "low", a=1, b=2), written(tmp_path / "top", c=3)
    result = shell.run("merge", low, top, "-o", tmp_path / "out")
    assert (result.stdout, result.stderr) == ("", f"{tmp_path}/out: written and read back, 3 tensors (48 bytes)\n")
    reader = tf.train.load_checkpoint(str(tmp_path / "out"))
    assert {name: reader.get_tensor(name)[0, 0] for name in reader.get_variable_to_shape_map()} == {
        "a/kernel": 1,
        "b/kernel": 2,
        "c/kernel": 3,
    }


def test_names_that_both_have_are_refused_or_preferred(shell: Any, tmp_path: Path) -> None:
    one, two = written(tmp_path / "one", a=1, b=2), written(tmp_path / "two", b=3, c=4)
    assert shell.error("merge", one, two, "-o", tmp_path / "x") == (
        f"b/kernel is in {one} and {two}; --prefer specifies which to use"
    )
    assert shell.lines("merge", one, two, "--prefer", "last", "--plan") == [
        f"a/kernel\t[2, 2]\tfloat32\t16\tfrom {one}",
        f"b/kernel\t[2, 2]\tfloat32\t16\tfrom {two}",
        f"c/kernel\t[2, 2]\tfloat32\t16\tfrom {two}",
    ]
    shell.run("merge", one, two, "--how", "intersection", "-o", tmp_path / "both")
    assert values(tmp_path / "both") == {"b/kernel": [2.0] * 4}


@pytest.mark.parametrize(
    ("how", "options", "expected"),
    [
        ("linear", ["--weights", "1,3"], 3.5),
        ("slerp", ["--t", "0.25"], 2.5),  # parallel: on the straight line
        ("ties", ["--density", "1"], 3.0),
        ("dare", ["--density", "1"], 3.0),
    ],
)
def test_models_are_merged(shell: Any, tmp_path: Path, how: str, options: list[str], expected: float) -> None:
    one, two, base = written(tmp_path / "one", a=2), written(tmp_path / "two", a=4), written(tmp_path / "base", a=1)
    based = ["--base", base] if how in ("ties", "dare") else []
    shell.run("merge", one, two, "--how", how, *options, *based, "-o", tmp_path / "out")
    assert values(tmp_path / "out") == {"a/kernel": [expected] * 4}


def test_a_seed_says_what_is_drawn(shell: Any, tmp_path: Path) -> None:
    one, two, base = (written(tmp_path / name, a=value) for name, value in (("one", 2), ("two", 4), ("base", 1)))
    for name, seed in (("x", "1"), ("y", "1"), ("z", "2")):
        drawn = ["--how", "dare", "--density", "0.5", "--seed", seed, "--base", base]
        shell.run("merge", one, two, *drawn, "-o", tmp_path / name)
    assert values(tmp_path / "x") == values(tmp_path / "y") != values(tmp_path / "z")


def test_options_that_do_not_fit(shell: Any, tmp_path: Path) -> None:
    one, two = written(tmp_path / "one", a=2), written(tmp_path / "two", a=4)
    out = ["-o", tmp_path / "x"]
    assert (
        shell.error("merge", one, two, "--t", "0.5", *out) == "--t does not apply to union; its parameters are --prefer"
    )
    assert "needs --base" in shell.error("merge", one, two, "--how", "ties", *out)
    assert "slerp merges 2 checkpoints, not 3" in shell.error("merge", one, two, one, "--how", "slerp", *out)
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith("x")) == []


def test_task_arithmetic_with_a_scale_for_each_layer(shell: Any, tmp_path: Path) -> None:
    base, a, b = (
        written(tmp_path / name, low=low, top=top) for name, low, top in (("base", 1, 1), ("a", 3, 2), ("b", 1, 5))
    )
    out = tmp_path / "out"
    command = ("merge", a, b, "--how", "task-arithmetic", "--base", base)
    shell.run(*command, "--scale", "0.5", "--scale", "top=2", "--weights=1,-1", "-o", out)
    assert values(out) == {"low/kernel": [2.0] * 4, "top/kernel": [-5.0] * 4}
    wrong = shell.error(
        "merge", a, b, "--how", "task-arithmetic", "--base", base, "--scale", "top=x", "-o", tmp_path / "x"
    )
    assert wrong == "--scale top=x: expected a number, or RE=NUMBER"


def test_conflicts_are_shown_before_anything_is_merged(shell: Any, tmp_path: Path) -> None:
    base, a, b = (
        written(tmp_path / name, low=low, top=top) for name, low, top in (("base", 1, 1), ("a", 3, 2), ("b", 1, 0))
    )
    command = ("merge", a, b, "--how", "ties", "--base", base, "--conflicts")
    assert shell.lines(*command, "--plan") == [
        "top\t1\t1\t-1\t1, 1",
        "low\t1\t0\t\t2, 0",
        "all layers\t1\t0.5\t-0.447214\t1.58, 0.707",
    ]
    found = shell.run(*command, "--json", "-o", tmp_path / "out")
    assert [row["name"] for row in json.loads(found.stdout)] == ["top", "low", "all layers"]
    assert (tmp_path / "out.index").exists()
    assert "--conflicts are of what was learned since --base" in shell.error("merge", a, b, "--conflicts", "--plan")


def of_words(folder: Path, words: list[str], start: float, name: str = "model.safetensors") -> Path:
    folder.mkdir()
    rows = start + np.arange(len(words), dtype=np.float32)
    checkpoint.save({"embed/kernel": rows[:, None] * np.ones(7, np.float32), "head/bias": rows}, folder / name)
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in words))
    return folder / name


def test_models_of_two_vocabularies(shell: Any, tmp_path: Path) -> None:
    one, two = of_words(tmp_path / "a", ["the", "cat", "sat"], 0), of_words(tmp_path / "b", ["cat", "the"], 10)
    command = ("merge", one, two, "--how", "linear", "--vocab", tmp_path / "a", "--vocab", tmp_path / "b" / "vocab.txt")
    shown = shell.run(*command, "--plan")
    assert shown.stdout.splitlines()[0] == "embed/kernel\t[3, 7]\tfloat32\t84\tlinear, tokens along axis 0"
    assert shown.stderr == (
        "3 tokens, 1 of them added to the last one's: 2 in all, 1 in one alone; a missing row is the mean of "
        "those that have it\n"
    )
    out = tmp_path / "out.safetensors"
    assert shell.run(*command, "-o", out).stderr.endswith("2 tensors (96 bytes), its tokens beside it (.vocab.json)\n")
    assert values(out)["head/bias"] == [5.5, 5.5, 2.0]
    beside = tmp_path / "out.safetensors.vocab.json"
    assert json.loads(beside.read_text()) == {"cat": 0, "the": 1, "sat": 2}
    again = shell.run("merge", out, two, "--how", "linear", "--vocab", beside, "--vocab", tmp_path / "b", "--tokens",
                      "last", "-o", tmp_path / "last.safetensors")  # fmt: skip
    assert again.stderr.startswith("2 tokens, none of them added")
    assert values(tmp_path / "last.safetensors")["head/bias"] == [7.75, 8.25]
    out.unlink()
    assert "out.safetensors.vocab.json exists" in shell.error(*command, "-o", out)


def test_a_token_may_have_the_row_of_one_model(shell: Any, tmp_path: Path) -> None:
    one, two = of_words(tmp_path / "a", ["the", "cat", "sat"], 0), of_words(tmp_path / "b", ["cat", "the"], 10)
    command = ("merge", one, two, "--how", "linear", "--vocab", tmp_path / "a", "--vocab", tmp_path / "b")
    shell.run(*command, "--token-row", "cat=1", "-o", tmp_path / "out.safetensors")
    assert values(tmp_path / "out.safetensors")["head/bias"] == [1.0, 5.5, 2.0]
    plan = tmp_path / "plan.toml"
    plan.write_text(shell.run("log", tmp_path / "out.safetensors", "--plan").stdout)
    assert 'token-rows = ["cat=1"]' in plan.read_text()
    shell.run("apply", plan, two, one, "-o", tmp_path / "again.safetensors")
    assert values(tmp_path / "again.safetensors") == values(tmp_path / "out.safetensors")
    assert shell.error(*command, "--token-row", "cat=3", "-o", tmp_path / "x") == (
        "--token-row 'cat=3': expected TOKEN=MODEL, the number of a model (1 to 2)"
    )


def test_a_plan_with_such_a_merge_writes_the_same_files(shell: Any, tmp_path: Path) -> None:
    one, two = of_words(tmp_path / "a", ["the", "cat", "sat"], 0), of_words(tmp_path / "b", ["cat", "the"], 10)
    words = [tmp_path / "a", tmp_path / "b"]
    shell.run("merge", one, two, "--how", "linear", "--vocab", words[0], "--vocab", words[1], "-o", tmp_path / "x.npz")
    plan = tmp_path / "plan.toml"
    plan.write_text(
        'sources = ["one", "two"]\n[[step]]\nmerge = ["one", "two"]\nhow = "linear"\n'
        f'vocab = ["{words[0]}", "{words[1]}"]\nas = "both"\n[[step]]\nrename = "head=>out"\n'
    )
    command = ("apply", plan, one, two, "-o", tmp_path / "y.npz")
    assert shell.run(*command).stderr.endswith("2 tensors (96 bytes), its tokens beside it (.vocab.json), 2 steps\n")
    assert (tmp_path / "y.npz.vocab.json").read_bytes() == (tmp_path / "x.npz.vocab.json").read_bytes()
    assert values(tmp_path / "y.npz")["out/bias"] == values(tmp_path / "x.npz")["head/bias"]
    (tmp_path / "y.npz").unlink()
    assert "y.npz.vocab.json exists" in shell.error(*command)
    shell.run(*command, "--overwrite")
    plan.write_text(plan.read_text() + '[[step]]\ndrop = "embed"\non = "one"\n')
    shell.run(*command[:-1], tmp_path / "z.npz")
    assert not (tmp_path / "z.npz.vocab.json").exists(), "what is written is not what was merged"


def test_vocabularies_that_do_not_fit(shell: Any, tmp_path: Path) -> None:
    one, two = of_words(tmp_path / "a", ["the", "cat", "sat"], 0), of_words(tmp_path / "b", ["cat", "the"], 10)
    command = ("merge", one, two, "-o", tmp_path / "x", "--vocab", tmp_path / "a")
    assert shell.error(*command) == "--vocab does not apply to union; its parameters are --prefer"
    assert shell.error(*command, "--how", "linear") == "--vocab has 1, expected 2: one for each model, in their order"
    assert "--vocab-tensors RE specifies" in shell.error(*command, "--how", "linear", "--vocab", tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("x")] == []


def test_a_graph_whose_vocabulary_grows_stays_behind(shell: Any, tmp_path: Path) -> None:
    fixture = Path(__file__).parents[2] / "fixtures" / "my_model_final.ckpt"
    words = {name: tmp_path / f"{name}.txt" for name in ("few", "many")}
    words["few"].write_text("".join(f"{number}\n" for number in range(784)))
    words["many"].write_text("".join(f"{number}\n" for number in range(790)))
    shell.run(
        "edit", fixture, "--resize", "hidden1/kernel = to(790, fill=zeros)", "--no-graph", "-o", tmp_path / "more"
    )
    done = shell.run("merge", tmp_path / "more", fixture, "--how", "linear", "--vocab", words["many"], "--vocab",
                     words["few"], "-o", tmp_path / "out")  # fmt: skip
    assert f"the graph beside {fixture} does not come along: its hidden1/kernel has another shape" in done.stderr
    assert not (tmp_path / "out.meta").exists()
    assert checkpoint.open(tmp_path / "out")["hidden1/kernel"].shape == (790, 300)
