"""`log --plan`: the plan that reproduces an output from its lineage, byte by byte, for all commands."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import ckpttool
from ckpttool import checkpoint
from ckpttool.core import toml_text
from ckpttool.core.variable_kinds import OBJECT_GRAPH


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    values = {f"hidden{n}/{part}": draw.normal(size=shape).astype("f") for n in "12" for part, shape in SHAPES.items()}
    slots = {f"{name}/Adam": np.ones_like(value) for name, value in values.items()}
    checkpoint.save({**values, **slots, "global_step": np.array(7)}, "base.ckpt")
    moved = {name: value + draw.normal(size=value.shape).astype("f") for name, value in values.items()}
    checkpoint.save({**moved, **slots, "global_step": np.array(9)}, "tuned.ckpt")
    return tmp_path


SHAPES = {"kernel": (3, 4), "bias": (4,)}
ADAPTER = {"lora_up.weight": np.ones((3, 1), "f"), "lora_down.weight": np.ones((1, 4), "f"), "alpha": np.array(1, "f")}
PLAN = """
sources = ["base", "tuned"]
[variables]
factor = 0.5
[[step]]
on = "tuned"
for = "hidden{i}"
scale = "hidden{i}={factor}"
[[step]]
on = "tuned"
assert = "hidden.*"
finite = true
[[step]]
merge = ["base", "tuned"]
how = "ties"
base = "base"
density = 0.5
as = "both"
[[step]]
cast = "float16"
"""


def edits(run: Callable[..., Any]) -> str:
    run("edit", "base.ckpt", "--drop-slots", "--rename", r"hidden(\d)=>fc\1", "--scale", "fc1=0.1", "-o", "1.npz")
    run(
        "edit",
        "1.npz",
        "--copy",
        "fc1=>fc3",
        "--resize",
        "fc3/bias = to(6, fill=normal)",
        "--seed",
        "7",
        "-o",
        "2.npz",
    )
    return "2.npz"


def with_slots(run: Callable[..., Any]) -> str:
    run("edit", "base.ckpt", "--slots", "--clamp", "hidden.*=-0.5,0.5", "-o", "out.ckpt")
    return "out.ckpt"


def a_script_and_truncation(run: Callable[..., Any]) -> str:
    Path("edits.toml").write_text('[[edit]]\nresize = "hidden1/bias = to(2)"\n[[edit]]\ndrop-slots = true\n')
    run("edit", "base.ckpt", "--drop-slots", "--resize", "hidden1/bias = to(2)", "--allow-truncate", "-o", "out.npz")
    return "out.npz"


def merged(run: Callable[..., Any]) -> str:
    run("edit", "base.ckpt", "--rename", "hidden=>fc", "--lenient", "--scale", "hidden1=2", "-o", "a.ckpt")
    run("convert", "tuned.ckpt", "--drop-slots", "-o", "b.safetensors")
    run(
        "merge",
        "a.ckpt",
        "b.safetensors",
        "--how",
        "task-arithmetic",
        "--base",
        "base.ckpt",
        "--scale",
        "0.3",
        "-o",
        "c.npz",
    )
    run("average", "c.npz", "base.ckpt", "--decay", "0.25", "-o", "d.npz")
    return "d.npz"


def united(run: Callable[..., Any]) -> str:
    run("convert", "base.ckpt", "--layers", "hidden1", "-o", "low.npz")
    run("convert", "tuned.ckpt", "--layers", "hidden2", "--drop-slots", "-o", "top.npz")
    run("merge", "low.npz", "top.npz", "-o", "both.ckpt")
    return "both.ckpt"


def sharded(run: Callable[..., Any]) -> str:
    run("split", "base.ckpt", "--shard-size", "100B", "-o", "parts.ckpt")
    run("join", "parts.ckpt", "-o", "whole.npz")
    return "whole.npz"


def a_plan(run: Callable[..., Any]) -> str:
    Path("plan.toml").write_text(PLAN)
    run("apply", "plan.toml", "base.ckpt", "tuned.ckpt", "-o", "made.npz")
    run("edit", "made.npz", "--rename", "hidden{1,2}=>x", "--lenient", "--drop-slots", "-o", "again.npz")
    return "again.npz"


def adapted(run: Callable[..., Any]) -> str:
    checkpoint.save({f"lora_unet_hidden1_kernel.{part}": value for part, value in ADAPTER.items()}, "lora.safetensors")
    run(
        "edit",
        "base.ckpt",
        "--fold-adapter",
        "lora.safetensors=0.5",
        "--rename",
        "(.*){x}=>y",
        "--lenient",
        "-o",
        "out.npz",
    )
    return "out.npz"


def in_python(run: Callable[..., Any]) -> str:
    opened = ckpttool.open("base.ckpt")
    made = opened.select("hidden1.*").rename({"hidden(.)": r"fc\1"}).drop_slots().cast("float16").scale("fc1", 3)
    exchanged = opened.rename({"hidden1": "hidden2", "hidden2": "hidden1"})
    ckpttool.save(ckpttool.merge([made, exchanged.cast("float64").keep("hidden2").drop_slots()]), "python.npz")
    return "python.npz"


CHAINS = (edits, with_slots, a_script_and_truncation, merged, united, sharded, a_plan, adapted, in_python)


@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: chain.__name__)
def test_an_output_is_made_again(shell: Any, base: Path, chain: Callable[..., str]) -> None:
    out = Path(chain(shell.run))
    text = shell.run("log", out, "--plan").stdout
    Path("again.toml").write_text(text)
    first = text.splitlines()[0]
    assert first.startswith(f"# {out} is made again by: ckpttool apply plan.toml ")
    again = base / "again" / out.name
    again.parent.mkdir()
    shell.run("apply", "again.toml", *first.split(" plan.toml ")[1].split()[:-2], "-o", again)
    assert ckpttool.diff(out, again).equal
    for file in base.glob(f"{out.name}*"):
        if not file.name.endswith(".lineage.json"):
            assert file.read_bytes() == (again.parent / file.name).read_bytes(), file


def test_a_file_that_carries_its_lineage_has_the_same_tensors_again(shell: Any, base: Path) -> None:
    shell.run("edit", "base.ckpt", "--drop-slots", "-o", "a.safetensors")
    Path("plan.toml").write_text(shell.run("log", "a.safetensors", "--plan").stdout)
    shell.run("apply", "plan.toml", "-o", "b.safetensors")
    first, second = (load_file(name) for name in ("a.safetensors", "b.safetensors"))
    assert {name: value.tobytes() for name, value in first.items()} == {n: v.tobytes() for n, v in second.items()}


def test_the_plan_as_json_and_from_python_is_the_same(shell: Any, base: Path) -> None:
    shell.run("edit", "base.ckpt", "--keep", "hidden1", "-o", "a.npz")
    plan = shell.json("log", "a.npz", "--plan")
    assert plan["step"] == [{"keep": "hidden1"}, {"assert": ".*", "slots": True, "count": 4}]
    assert ckpttool.log("a.npz").plan() == plan
    assert toml_text.loads(shell.run("log", "a.npz", "--plan").stdout)["step"] == plan["step"]


def test_braces_in_names_mean_no_variable(shell: Any, base: Path) -> None:
    shell.run("edit", "base.ckpt", "--rename", "hidden1=>h{x}", "-o", "a.npz")
    Path("plan.toml").write_text(shell.run("log", "a.npz", "--plan").stdout)
    shell.run("apply", "plan.toml", "-o", "b.npz")
    assert "h{x}/kernel" in checkpoint.open("b.npz")
    assert ckpttool.diff("a.npz", "b.npz").equal


def test_files_that_steps_read_are_listed_with_their_hashes(shell: Any, base: Path) -> None:
    checkpoint.save({f"lora_unet_hidden1_kernel.{part}": value for part, value in ADAPTER.items()}, "lora.safetensors")
    named = ("--drop-slots", "--rename", "hidden1/kernel=>hidden1_kernel.weight")
    shell.run("edit", "base.ckpt", *named, "--fold-adapter", "lora.safetensors", "-o", "a.npz")
    hashed = hashlib.sha256(Path("lora.safetensors").read_bytes()).hexdigest()
    assert f"# reads lora.safetensors too, sha256:{hashed}" in shell.lines("log", "a.npz", "--plan")


def test_another_file_in_the_place_of_a_source_is_refused(shell: Any, base: Path) -> None:
    shell.run("convert", "base.ckpt", "-o", "a.npz")
    Path("plan.toml").write_text(shell.run("log", "a.npz", "--plan").stdout)
    checkpoint.save({"w": np.ones(2)}, "base.ckpt", overwrite=True)
    message = shell.error("apply", "plan.toml", "-o", "b.npz")
    assert "plan.toml, source a: base.ckpt has the sha256 " in message
    assert "# changed since: base.ckpt" in shell.run("log", "a.npz", "--plan").stdout
    assert not Path("b.npz").exists()


def test_what_no_step_makes_is_named(shell: Any, base: Path, model: Path) -> None:
    shell.run("freeze", model, "--layers", "hidden1", "-o", "frozen.ckpt")
    result = shell.run("log", "frozen.ckpt", "--plan", exit_code=1)
    assert result.stderr == "frozen.ckpt: it was made by freeze, which is not a step of a plan\n"
    assert result.stdout == ""
    shell.run("edit", "frozen.ckpt", "--drop-slots", "--lenient", "--no-graph", "-o", "weights.npz")
    assert "# made by freeze, which is not a step of a plan\na = " in shell.run("log", "weights.npz", "--plan").stdout
    nothing = shell.run("log", model, "--plan", exit_code=1)
    assert nothing.stderr == f"{model}: no history\n"


def test_a_graph_that_was_not_written_is_not_by_the_plan(shell: Any, base: Path, model: Path) -> None:
    for options in ([], ["--no-graph"]):
        shell.run("edit", model, "--scale", "outputs=0.5", *options, "-o", "a.ckpt", "--overwrite")
        command = shell.run("log", "a.ckpt", "--plan").stdout.splitlines()[0]
        assert command.endswith(" ".join(["ckpttool apply plan.toml", *options, "-o a.ckpt"]))


def test_what_python_did_and_no_edit_does_is_named(shell: Any, base: Path) -> None:
    ckpttool.save(ckpttool.open("base.ckpt").select("hidden1/kernel(?!/)"), "a.npz")
    result = shell.run("log", "a.npz", "--plan", exit_code=1)
    assert result.stderr == "a.npz: it was made by save (keep hidden1/kernel(?!/)), which is not a step of a plan\n"


def test_an_object_graph_that_a_format_has_no_place_for(
    shell: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorflow as tf

    monkeypatch.chdir(tmp_path)
    tf.train.Checkpoint(a=tf.Variable([1.0]), b=tf.Variable([2.0])).write("objects")
    shell.run("convert", "objects", "-o", "a.npz")
    shell.run("edit", "a.npz", "--scale", "a=2", "-o", "b.ckpt")
    Path("plan.toml").write_text(shell.run("log", "b.ckpt", "--plan").stdout)
    shell.run("apply", "plan.toml", "-o", "c.ckpt")
    assert OBJECT_GRAPH not in checkpoint.open("c.ckpt")
    assert ckpttool.diff("b.ckpt", "c.ckpt").equal


@pytest.mark.parametrize(
    "plan", ['{"sources": [9], "step": []}', '{"sources": 1, "step": []}', "[]", '{"sources": [0], "step": [1]}']
)
def test_a_record_with_a_plan_that_is_none(shell: Any, base: Path, plan: str) -> None:
    source = '{"path": "x", "format": "npz", "hash": "sha256:0", "files": []}'
    facts = f'"command": "edit", "arguments": [], "sources": [{source}], "steps": [], "versions": {{}}, "date": ""'
    record = f'{{{facts}, "plan": {plan}}}'
    Path("base.ckpt.lineage.json").write_text(f'{{"records": [{record}], "left_out": 0}}')
    assert "base.ckpt.lineage.json: not a lineage: " in shell.error("log", "base.ckpt", "--plan")
