"""`log`: every output records how it was made, from which sources, and whether these still exist."""

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from safetensors import safe_open

from ckpttool import __version__, checkpoint
from ckpttool.formats.wire import checked_json


def sha256(*files: Path) -> str:
    return "sha256:" + hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def told(shell: Any, path: Path) -> list[tuple[str, list[str]]]:
    """The chain of a lineage: each command with its sources' names."""
    records = shell.json("log", path)["records"]
    return [(record["command"], [Path(source["path"]).name for source in record["sources"]]) for record in records]


def test_a_chain_through_formats_with_and_without_a_place_for_it(shell: Any, tiny: Path, tmp_path: Path) -> None:
    first, second, third = tmp_path / "1.safetensors", tmp_path / "2.npz", tmp_path / "3.h5"
    shell.run("edit", tiny, "--drop-slots", "--rename", "fc=>dense", "-o", first)
    shell.run("convert", first, "-o", second)
    shell.run("edit", second, "--keep", "dense", "-o", third)
    found = shell.json("log", third)
    assert [record["command"] for record in found["records"]] == ["edit", "convert", "edit"]
    edit, convert, _ = found["records"]
    index = Path(f"{tiny}.index")
    assert edit["sources"] == [
        {"path": str(tiny), "format": "bundle", "hash": sha256(index), "files": [index.name], "now": "unchanged"}
    ]
    assert edit["arguments"] == [str(tiny), "--drop-slots", "--rename", "fc=>dense", "-o", str(first)]
    assert edit["steps"] == ["drop-slots", "rename fc=>dense"]
    assert (edit["versions"]["ckpttool"], edit["versions"]["numpy"]) == (__version__, np.__version__)
    assert [(source["path"], source["hash"]) for source in convert["sources"]] == [(str(first), sha256(first))]
    assert (found["left_out"], found["run"]) == (0, None)


def test_it_is_in_the_metadata_of_formats_that_have_such_and_else_beside(
    shell: Any, tiny: Path, tmp_path: Path
) -> None:
    for name in ("a.safetensors", "a.h5", "a.npz", "a.ckpt"):
        shell.run("edit", tiny, "--drop-slots", "-o", tmp_path / name)
    with safe_open(str(tmp_path / "a.safetensors"), "np") as opened:
        inside = [opened.metadata()["ckpttool.lineage"]]
    with h5py.File(tmp_path / "a.h5") as file:
        inside.append(file.attrs["ckpttool.lineage"])
    assert [json.loads(text)["records"][0]["command"] for text in inside] == ["edit", "edit"]
    beside = sorted(path.name for path in tmp_path.glob("*.lineage.json"))
    assert beside == ["a.ckpt.lineage.json", "a.npz.lineage.json"]
    assert "ckpttool.lineage" not in checkpoint.open(tmp_path / "a.safetensors").metadata


def test_for_people(shell: Any, tiny: Path, tmp_path: Path) -> None:
    shell.run("edit", tiny, "--rename", "f(.)=>d \\1", "-o", tmp_path / "a.npz")
    head, source, step, versions = shell.lines("log", tmp_path / "a.npz")
    assert head.split("  ", 1)[1] == f"ckpttool edit {tiny} --rename 'f(.)=>d \\1' -o {tmp_path / 'a.npz'}"
    assert source == f"    from {tiny} (bundle, {sha256(Path(f'{tiny}.index'))} of tiny.ckpt.index)"
    assert step == "    rename f(.)=>d \\1"
    assert versions.startswith(f"    with ckpttool {__version__}, python 3.")


def test_a_source_that_changed_or_went_away(shell: Any, tiny: Path, tmp_path: Path) -> None:
    def now() -> list[str]:
        return [source["now"] for record in shell.json("log", out)["records"] for source in record["sources"]]

    out = tmp_path / "a.npz"
    shell.run("convert", tiny, "-o", out)
    assert now() == ["unchanged"]
    checkpoint.save({"fc/bias": np.zeros(3, np.float32)}, tiny, overwrite=True)
    assert now() == ["changed since"]
    assert shell.lines("log", out)[1].endswith("of tiny.ckpt.index), changed since")
    Path(f"{tiny}.index").unlink()
    assert now() == ["gone"]
    assert shell.lines("log", out)[1].endswith(", gone")


def test_a_folder_that_moved_as_a_whole(shell: Any, tiny: Path, tmp_path: Path) -> None:
    shell.run("convert", tiny, "-o", tmp_path / "a.npz")
    moved = tmp_path / "moved"
    moved.mkdir()
    for path in list(tmp_path.glob("*.*")):
        path.rename(moved / path.name)
    assert shell.json("log", moved / "a.npz")["records"][0]["sources"][0]["now"] == "unchanged"


def test_what_was_overwritten_by_itself_says_what_it_was(shell: Any, tiny: Path) -> None:
    before = sha256(Path(f"{tiny}.index"))
    for name in ("a", "b"):
        shell.run("edit", tiny, "--rename", f"(a/)*fc=>{name}/fc", "-o", tiny, "--overwrite")
    first, second = shell.json("log", tiny)["records"]
    assert (first["sources"][0]["hash"], first["sources"][0]["now"]) == (before, "changed since")
    assert second["sources"][0]["hash"] not in (before, sha256(Path(f"{tiny}.index")))


def test_lineages_that_meet_have_each_record_once(shell: Any, tiny: Path, tmp_path: Path) -> None:
    one, bias, kernel, both = (tmp_path / name for name in ("1.npz", "2.npz", "3.ckpt", "4.safetensors"))
    shell.run("convert", tiny, "-o", one)
    shell.run("edit", one, "--keep", "fc/bias", "-o", bias)
    shell.run("edit", one, "--keep", "fc/kernel", "-o", kernel)
    shell.run("merge", bias, kernel, "-o", both)
    assert told(shell, both) == [
        ("convert", ["tiny.ckpt"]),
        ("edit", ["1.npz"]),
        ("edit", ["1.npz"]),
        ("merge", ["2.npz", "3.ckpt"]),
    ]


def test_a_model_is_of_a_graph_and_a_checkpoint(shell: Any, model: Path, tmp_path: Path) -> None:
    shell.run("freeze", model, "--layers", "hidden1", "-o", tmp_path / "frozen.ckpt")
    assert told(shell, tmp_path / "frozen.ckpt") == [("freeze", [f"{model.name}.meta", model.name])]


@pytest.mark.parametrize(
    ("command", "options", "output", "sources"),
    [
        ("collections", ["--add", "mine", "X:0"], "out.meta", [".meta"]),
        ("fold", [], "out.pb", [".meta", ""]),
        ("strip", [], "out.ckpt", [".meta", ""]),
        ("modernize", [], "out.ckpt", [".meta", ""]),
        ("export-saved-model", [], "out", [".meta", ""]),
    ],
)
def test_graphs_and_what_is_made_of_them(
    shell: Any, model: Path, tmp_path: Path, command: str, options: list[str], output: str, sources: list[str]
) -> None:
    shell.run(command, model, *options, "-o", tmp_path / output)
    assert told(shell, tmp_path / output) == [(command, [f"{model.name}{suffix}" for suffix in sources])]


def test_a_run_of_training_and_its_report(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned.ckpt"
    shell.run("finetune", small, "--data", data, "--epochs", "1", "--save-every", "1 epoch", "-o", out)
    shell.run("convert", out, "-o", tmp_path / "tuned.npz")
    found = shell.json("log", out)
    assert [record["command"] for record in found["records"]] == ["new", "finetune"]
    assert (found["run"]["model"], found["run"]["best_epoch"]) == (str(small), 1)
    assert shell.lines("log", out)[-1] == f"run: {out}.run.json: {small} trained on {data}, best epoch 1"
    assert told(shell, tmp_path / "tuned.npz")[-1] == ("convert", ["tuned.ckpt"])


@pytest.mark.parametrize("most", [5, pytest.param(64, marks=pytest.mark.slow)])
def test_the_oldest_records_of_a_long_chain_are_left_out(
    shell: Any, tiny: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr("ckpttool.lineage.records.MOST_RECORDS", most)
    for number in range(most + 2):
        shell.run("edit", tiny, "--set", f"global_step={number}", "--slots", "-o", tiny, "--overwrite")
    found = shell.json("log", tiny)
    assert (len(found["records"]), found["left_out"]) == (most, 2)
    assert found["records"][-1]["arguments"][2] == f"global_step={most + 1}"
    assert shell.lines("log", tiny)[0] == "2 older records were omitted"


def test_a_long_lineage_does_not_fit_into_metadata_and_lies_beside(shell: Any, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.h5"
    there_and_back = ["--rename", "fc/bias=>fc/offset", "--rename", "fc/offset=>fc/bias"]
    shell.run("edit", tiny, "--drop-slots", *(300 * there_and_back), "-o", out)
    assert Path(f"{out}.lineage.json").exists()
    assert told(shell, out) == [("edit", ["tiny.ckpt"])]


def test_edits_of_a_script_are_in_it(shell: Any, tiny: Path, tmp_path: Path) -> None:
    script = tmp_path / "edits.toml"
    script.write_text('[[edit]]\nrename = "fc=>dense"\n')
    shell.run("edit", tiny, "--script", script, "-o", tmp_path / "a.npz")
    assert shell.json("log", tmp_path / "a.npz")["records"][0]["steps"] == ["rename fc=>dense"]


def test_a_checkpoint_of_which_nothing_is_known(shell: Any, model: Path) -> None:
    result = shell.run("log", model, exit_code=1)
    assert (result.stdout, result.stderr) == (f"{model}: no history\n", "")
    assert shell.json("log", model, exit_code=1) == {"records": [], "left_out": 0, "run": None}


def test_a_lineage_of_what_was_there_before_does_not_count(shell: Any, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.npz"
    shell.run("convert", tiny, "-o", out)
    np.savez(out, w=np.ones(2))
    (line,) = shell.lines("log", out, exit_code=1)
    assert line == f"{out}: no history; {out}.lineage.json is of what was there before"
    shell.run("convert", out, "-o", tmp_path / "b.npz")
    assert told(shell, tmp_path / "b.npz") == [("convert", ["a.npz"])]


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"records": 3, "left_out": 0}', '{"records": [{"command": "x"}], "left_out": 0}', "[" * 100_000],
    ids=["empty", "list", "nothing", "number", "partial", "deep"],
)
def test_a_damaged_lineage(shell: Any, tiny: Path, tmp_path: Path, text: str) -> None:
    Path(f"{tiny}.lineage.json").write_text(text)
    assert "tiny.ckpt.lineage.json: not a lineage: " in shell.error("log", tiny)
    shell.run("convert", tiny, "-o", tmp_path / "a.npz")
    assert told(shell, tmp_path / "a.npz") == [("convert", ["tiny.ckpt"])]


def test_a_report_that_is_none(shell: Any, tiny: Path) -> None:
    Path(f"{tiny}.run.json").write_text("[")
    assert "tiny.ckpt.run.json: not a run report (not JSON)" in shell.error("log", tiny)


def test_what_is_missing(shell: Any, tmp_path: Path) -> None:
    assert "none.ckpt is missing" in shell.error("log", tmp_path / "none.ckpt")


def test_escapes_in_what_others_wrote_do_not_reach_the_terminal(shell: Any, tiny: Path, tmp_path: Path) -> None:
    shell.run("convert", tiny, "-o", tmp_path / "a.npz")
    place = tmp_path / "a.npz.lineage.json"
    facts = checked_json.loads(place.read_bytes())
    facts["records"][0]["command"] = "\x1b[31mconvert"
    place.write_bytes(checked_json.dumps(facts))
    assert "\x1b" not in "".join(shell.lines("log", tmp_path / "a.npz"))


def test_a_folder_of_shards(shell: Any, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "model.safetensors.index.json"
    shell.run("edit", tiny, "--drop-slots", "--drop", "global_step", "--shard-size", "24", "-o", out)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) == 2
    shell.run("convert", out, "-o", tmp_path / "a.npz")
    (_, source) = (record["sources"][0] for record in shell.json("log", tmp_path / "a.npz")["records"])
    assert source["files"] == [*(shard.name for shard in shards), out.name]
    shards[0].write_bytes(shards[0].read_bytes()[:-1] + b"\x07")
    assert shell.json("log", tmp_path / "a.npz")["records"][1]["sources"][0]["now"] == "changed since"
