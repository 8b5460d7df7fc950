"""`--config`: options from TOML, and repeated runs from their reports; the command line wins, nothing is silent."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.cli.commands.finetune import finetune
from ckpttool.runtime.objectives import Objective
from ckpttool.training.options import Options, PseudoLabels
from ckpttool.training.run_report import write_report
from ckpttool.verbs import finetune as verb


def bits(path: Path) -> dict[str, bytes]:
    return {name: tensor.read().tobytes() for name, tensor in checkpoint.open(path).items()}


RUNS = """
import json, sys
from click.testing import CliRunner
from ckpttool.cli import main

for arguments in json.loads(sys.argv[1]):
    result = CliRunner().invoke(main, ["finetune", *arguments])
    assert result.exit_code == 0, result.output
print(result.stderr)
"""


def alone(*runs: list[str | Path]) -> str:
    """Run `finetune` several times in its own process, single-threaded; return the last output."""
    arguments = json.dumps([list(map(str, run)) for run in runs])
    result = subprocess.run([sys.executable, "-c", RUNS, arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


def report_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(f"{path}.run.json").read_text())
    return found


def figures(path: Path) -> list[dict[str, Any]]:
    return [{**epoch, "seconds": None} for epoch in report_of(path)["history"]]


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """Write a TOML file."""

    def write(text: str, name: str = "run.toml") -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of rows and of a teacher, which a command checks before anything else."""
    monkeypatch.chdir(tmp_path)
    for name in ("d.npz", "many.npz", "t.ckpt.index"):
        (tmp_path / name).touch()


@pytest.fixture
def asked(rows: None, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Options, bool, bool]]:
    """The options, --overwrite and --resume that `finetune` received; it is not run."""
    seen: list[tuple[Options, bool, bool]] = []

    def listen(_model: Any, _data: Any, options: Options, _output: Any, **given: Any) -> None:
        seen.append((options, given["overwrite"], given["resume"]))
        raise click.ClickException("asked")

    monkeypatch.setattr(verb, "finetune", listen)
    monkeypatch.setattr("ckpttool.cli.commands.finetune.configure_for", lambda *_: None)  # this process may run already
    return seen


def test_a_report_repeats_its_run_to_the_last_bit(small: Path, data: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "tuned.ckpt", tmp_path / "again.ckpt"
    how = ["--freeze", "hidden1", "--optimizer", "momentum(0.02, momentum=0.9)", "--l2", "0.001", "--dropout", "0.2"]
    how += ["--l2-sp", "hidden2=0.1", "--ema", "0.9"]
    more = ["--epochs", "3", "--batch-size", "32", "--seed", "7", "--keep", "last", "--threads", "1"]
    said = alone([small, "--data", data, *how, *more, "-o", first], ["--config", f"{first}.run.json", "-o", again])
    assert bits(again) == bits(first)
    assert "hidden2/kernel/Momentum" in bits(again)
    assert figures(again) == figures(first)
    old, new = report_of(first), report_of(again)
    assert {**new, "history": 0, "json_crc32c": 0} == {**old, "history": 0, "json_crc32c": 0}
    assert ".run.json is of" not in said


def test_the_command_line_wins_over_a_report(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "tuned.ckpt", tmp_path / "again.ckpt"
    shell.run("finetune", small, "--data", data, "--lr", "0.5", "--epochs", "2", "-o", first)
    shell.run("finetune", "--config", f"{first}.run.json", "--epochs", "1", "-o", again)
    assert report_of(again)["options"] == {**report_of(first)["options"], "epochs": 1}
    assert len(report_of(again)["history"]) == 1


def test_a_run_that_is_repeated_has_a_family_of_its_own(shell: Any, small: Path, data: Path, tmp_path: Path) -> None:
    folder, again = tmp_path / "served", tmp_path / "again.ckpt"
    shell.run("finetune", small, "--data", data, "--epochs", "1", "-o", f"{folder}/")
    shell.run("finetune", "--config", f"{folder}.run.json", "-o", again)
    assert (folder / "saved_model.pb").is_file()
    assert Path(f"{again}.meta").is_file()
    assert not again.exists()


def test_toml_says_what_the_command_line_would(
    shell: Any, small: Path, data: Path, tmp_path: Path, written: Any
) -> None:
    text = f"""
        model = {str(small)!r}
        data = {str(data)!r}
        freeze = "hidden1"
        optimizer = "momentum(momentum=0.9)"
        epochs = 2
        batch_size = 64
        early-stopping = 5
        inputs = ["X"]
        labels = "y"
        output = {str(tmp_path / "toml.ckpt")!r}

        [lr]
        "hidden[12]" = 1e-4
        outputs = 0.01
    """
    shell.run("finetune", "--config", written(text), "--config-paths")
    how = ["--freeze", "hidden1", "--optimizer", "momentum(momentum=0.9)", "--lr", "hidden[12]=0.0001,outputs=0.01"]
    more = ["--epochs", "2", "--batch-size", "64", "--early-stopping", "5", "--inputs", "X", "--labels", "y"]
    shell.run("finetune", small, "--data", data, *how, *more, "-o", tmp_path / "shell.ckpt")
    assert report_of(tmp_path / "toml.ckpt")["options"] == report_of(tmp_path / "shell.ckpt")["options"]


SAID: dict[str, Any] = {
    **{"freeze": "hidden1", "train": "outputs", "stages": "outputs=1, hidden2=2", "bn": "train", "dropout": "0.25"},
    **{"optimizer": "momentum(0.01)", "lr": "0.01", "lr-decay-per-layer": "0.5", "schedule": "cosine(100)"},
    **{
        "l2-sp": "0.01",
        "lp-ft": "2",
        "ema": "0.9",
        "unfreeze": "hidden2",
    },
    **{"teacher": "t.ckpt", "temperature": "3.0", "teacher-weight": "0.25"},
    **{"warmup": "3", "l1": "0.1", "l2": "hidden1=0.1", "max-norm": "2.5", "clip-value": "1.5", "clip-norm": "0.1"},
    **{"clip-global-norm": "1e-30", "objective": "softmax", "class-weight": "1=2.0", "label-smoothing": "0.1"},
    **{
        "epochs": "3",
        "batch-size": "7",
        "valid": "9",
        "group": "g",
        "preprocess": "scale(1/127.5, -1)",
        "early-stopping": "4",
        "keep": "last",
        "cache": None,
    },
    **{
        "classes": __file__,
        "cache-dir": "kept here",
        "augment": "flip()",
        "cache-augment": "2",
        "image-shape": "2,2,1",
    },
    **{"features": "X = float(4)", "save-every": "2 epochs", "keep-checkpoints": "1", "threads": "1", "seed": "3"},
    **{"inputs": "X", "labels": "y", "logits": "logits", "loss": "loss", "accuracy": "acc", "training": "training"},
    **{"signature": "serving_default"},
}
"""A non-default value for each option of `finetune`: a new option must be added here, or below."""
ALONE = {"train-op": "Momentum"}
"""It replaces a recipe."""
ROUNDS = {"pseudo-label": "0.2", "unlabelled": "many.npz", "rounds": "3", "sure": "0.9"}
"""Of runs in rounds."""
ELSEWHERE = {"model", "data", "weights"}
"""In the report next to the options; weights are part of the model's name."""
NOT_REPEATED = {
    *("config", "config-paths", "output", "to", "overwrite", "allow-op", "trust", "resume", "dry-run", "json"),
    *("tensorboard", "plot", "verbose", "quiet", "format", "header"),
}
"""Output, printing and permissions of a run: another run has its own."""


def long_names() -> set[str]:
    return {max(each.opts, key=len).removeprefix("--") for each in finetune.params}


def test_every_option_is_accounted_for() -> None:
    assert long_names() == {*SAID, *ALONE, *ROUNDS, *ELSEWHERE, *NOT_REPEATED}


@pytest.mark.usefixtures("rows")
def test_what_rounds_are_asked_for_comes_back_from_a_report(
    shell: Any, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[PseudoLabels] = []

    def listen(*_: Any, pseudo: PseudoLabels, **given: Any) -> None:
        seen.append(pseudo)
        raise click.ClickException("asked")

    monkeypatch.setattr("ckpttool.verbs.pseudo_labels.finetune_in_rounds", listen)
    monkeypatch.setattr("ckpttool.cli.commands.finetune.configure_for", lambda *_: None)
    typed = [word for name, value in ROUNDS.items() for word in (f"--{name}", value)]
    shell.run("finetune", small, "--data", "d.npz", *typed, "-o", tmp_path / "o", exit_code=2)
    facts = {"model": str(small), "data": {"path": "d.npz", "fingerprint": {}, "held_out": None}}
    write_report(tmp_path / "o", {**facts, "options": {**Options().flat(), **seen[0].flat()}})
    shell.run("finetune", "--config", tmp_path / "o.run.json", "-o", tmp_path / "again", exit_code=2)
    assert seen[1] == seen[0] == PseudoLabels(0.2, Path("many.npz"), 3, 0.9)


@pytest.mark.parametrize("said", [SAID, ALONE], ids=["recipe", "train-op"])
def test_every_option_comes_back_from_a_report(
    shell: Any, small: Path, tmp_path: Path, asked: list[tuple[Options, bool, bool]], said: dict[str, Any]
) -> None:
    typed = [word for name, value in said.items() for word in (f"--{name}", value) if word is not None]
    shell.run("finetune", small, "--data", "d.npz", *typed, "-o", tmp_path / "o", exit_code=2)
    flat = asked[0][0].flat()
    facts = {"model": str(small), "data": {"path": "d.npz", "fingerprint": {}, "held_out": None}}
    own = {"overwrite": True, "resume": True, "plot": "curves.png", "tensorboard": "events"}
    write_report(tmp_path / "o", {**facts, "options": {**flat, **own}})
    again = ("-o", tmp_path / "again", "--config-paths")
    shell.run("finetune", "--config", tmp_path / "o.run.json", *again, exit_code=2)
    assert asked[1] == asked[0]
    assert asked[1][1:] == (False, False)
    defaults = Options(objective=Objective("mse")).flat()
    told = {name.replace("_", "-") for name, value in flat.items() if value != defaults.get(name)}
    assert told >= said.keys()


def test_a_run_on_other_data_or_another_model_is_not_silent(
    shell: Any, small: Path, data: Path, tmp_path: Path, tiny: Path
) -> None:
    rows, first = tmp_path / "rows.npz", tmp_path / "tuned.ckpt"
    rows.write_bytes(data.read_bytes())
    shell.run("finetune", small, "--data", rows, "--epochs", "1", "-o", first)
    report = f"{first}.run.json"

    same = shell.run("finetune", "--config", report, "--data", data, "-o", tmp_path / "same.ckpt")
    assert ".run.json is of" not in same.stderr, "the rows are the same in another file"

    changed = dict(np.load(rows))
    changed["x_train"][0] += 1
    np.savez(rows, **changed)
    other = shell.run("finetune", "--config", report, "-o", tmp_path / "other.ckpt").stderr
    assert f"{report} is of other data: the train rows of {rows} are not those of {rows} then" in other

    moved = shell.run("finetune", first, "--config", report, "--data", data, "-o", tmp_path / "moved.ckpt").stderr
    assert f"{report} is of the model {small}, this run is of {first}" in moved


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epoch = 2", "{file}: epoch is not an option of main finetune; nearest: epochs"),
        ("config = 'x.toml'", "{file}: config is not an option of main finetune"),
        ("epochs = 0", "Invalid value for 'epochs' in {file}: 0 is not in the range x>=1 (see main finetune --help)"),
        ("epochs = 1.5", "Invalid value for 'epochs' in {file}: '1.5' is not a valid integer range"),
        ("epochs = true", "Invalid value for 'epochs' in {file}: 'True' is not a valid integer range"),
        ("clip_norm = 'a'", "Invalid value for 'clip_norm' in {file}: 'a' is not a valid float"),
        ("cache = 'perhaps'", "Invalid value for 'cache' in {file}: 'perhaps' is not a valid boolean"),
        ("keep = 'worst'", "Invalid value for 'keep' in {file}: 'worst' is not one of 'best', 'last'"),
        ("image-shape = [28]", "Invalid value for 'image-shape' in {file}: expected HEIGHT,WIDTH or HEIGHT,WIDTH,CHA"),
        ("batch-size = 1\nbatch_size = 2", "{file}: batch-size is specified twice, with a dash and with an underscore"),
        ("lr = [0.1, 0.2]", "--lr '0.1,0.2': expected one value for all, or PATTERN=VALUE pairs, not both"),
        ("epochs", "{file}: neither a TOML file nor a run report: Expected '=' after a key in a key/value pair"),
        ("[lr]\nhidden[12] = 1", "{file}: neither a TOML file nor a run report: "),
        ("{", "{file}: not a run report (not JSON): Expecting property name"),
        ('{"model": "m"}', "{file}: not a run report, which has model, data and options: 'data'"),
        ('{"model": 1, "data": 2, "options": 3}', "{file}: not a run report, which has model, data and options: "),
        ('{"model": "m", "data": {"path": "d", "fingerprint": {}}, "options": {"epoks": 2}}',
         "{file}: epoks is not an option of main finetune; nearest: epochs"),
    ],
)  # fmt: skip
def test_files_that_say_nonsense_are_refused(
    shell: Any, small: Path, data: Path, tmp_path: Path, written: Any, text: str, message: str
) -> None:
    file = written(text)
    found = shell.error("finetune", small, "--data", data, "--config", file, "-o", tmp_path / "o")
    assert found.startswith(message.replace("{file}", str(file)))
    assert list(tmp_path.iterdir()) == [file]


def test_what_neither_says_is_missed(shell: Any, small: Path, data: Path, tmp_path: Path, written: Any) -> None:
    file = written("epochs = 1")
    assert shell.error("finetune", "--config", file, "-o", "o").startswith("Missing argument 'MODEL'")
    assert shell.error("finetune", small, "--config", file, "-o", "o").startswith("Missing option '--data'")
    assert shell.error("finetune", small, "--data", data, "--config", file).startswith("Missing option '-o'")
    assert (
        shell.error("finetune", "--config", tmp_path / "no.toml")
        == f"{tmp_path / 'no.toml'}: No such file or directory"
    )


def test_a_bad_value_is_refused_where_the_command_line_has_a_good_one(shell: Any, small: Path, written: Any) -> None:
    file = written("epochs = 'many'")
    error = shell.error("finetune", small, "--data", "d.npz", "--epochs", "1", "--config", file, "-o", "o")
    assert error.startswith(f"Invalid value for 'epochs' in {file}: 'many' is not a valid integer range")


def test_new_and_cache_take_what_fits(shell: Any, small: Path, data: Path, tmp_path: Path, written: Any) -> None:
    out, fresh = tmp_path / "tuned.ckpt", tmp_path / "fresh.ckpt"
    how = ["--freeze", "hidden1", "--optimizer", "momentum", "--cache", "--cache-dir", tmp_path / "kept"]
    run = shell.json("finetune", small, "--data", data, *how, "--epochs", "1", "-o", out)
    report = f"{out}.run.json"

    assert shell.json("cache", "--config", report, "--config-paths") == {**run["cache"], "hit": True}
    shell.run("new", "--input", "4", "--layers", "outputs = dense(3)", "--config", report, "-o", fresh)
    assert "outputs/kernel/Momentum" in checkpoint.open(fresh)

    spec = written(f"input = 4\nlayers = 'outputs = dense(3)'\noutput = {str(tmp_path / 'toml.ckpt')!r}")
    shell.run("new", "--config-paths", "--config", spec)
    assert "outputs/kernel" in checkpoint.open(tmp_path / "toml.ckpt")


def test_a_file_says_where_to_write_with_leave_alone(shell: Any, tmp_path: Path, written: Any) -> None:
    layers, fresh = "input = 4\nlayers = 'outputs = dense(3)'", tmp_path / "fresh.ckpt"
    for text in (f"output = {str(tmp_path / 'toml.ckpt')!r}", "overwrite = true"):
        file = written(f"{layers}\n{text}")
        name = text.partition(" ")[0]
        told = shell.error("new", "--config", file, "-o", fresh)
        assert told == f"{file}: {name}: a file can specify output paths only with --config-paths"
    assert not list(tmp_path.glob("*.ckpt*"))


@pytest.mark.parametrize("text", ["allow-op = ['PyFunc']", "trust = true"])
def test_a_file_allows_nothing(shell: Any, small: Path, written: Any, text: str) -> None:
    file = written(f"model = {str(small)!r}\ndata = 'd.npz'\n{text}")
    told = shell.error("finetune", "--config", file, "--config-paths", "-o", "o")
    assert told == f"{file}: {text.partition(' ')[0]}: can only be specified on the command line"


@pytest.mark.parametrize("place", ["'ray://elsewhere:10001'", "['ray://elsewhere:10001']"])
def test_a_file_chooses_no_server_that_gets_the_data(
    shell: Any, small: Path, written: Any, tmp_path: Path, place: str
) -> None:
    file = written(f"data = 'd.npz'\non = {place}")
    told = shell.error("predict", small, "--config", file, "--config-paths", "-o", tmp_path / "o.npz")
    assert told == f"{file}: on: can only be specified on the command line"


def test_what_a_file_changes_is_listed(shell: Any, tmp_path: Path, written: Any) -> None:
    file = written("input = 4\nlayers = 'outputs = dense(3)'\noptimizer = 'momentum'")
    told = shell.run("new", "--config", file, "--optimizer", "adam", "-o", tmp_path / "fresh.ckpt").stderr
    assert f"{file} sets input 4, layers outputs = dense(3)\n" in told


def test_evaluate_takes_the_rows_of_a_report_and_not_its_model(
    shell: Any, small: Path, data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "tuned.ckpt"
    run = shell.json(
        "finetune", small, "--data", data, "--loss", "loss/loss", "--valid", "50", "--epochs", "1", "-o", out
    )
    report = f"{out}.run.json"
    scored = shell.json("evaluate", out, "--split", "valid", "--config", report)
    assert scored["rows"] == 50
    assert scored["loss"] == pytest.approx(run["history"][0]["valid_loss"])
    assert shell.error("evaluate", "--config", report).startswith("Missing argument 'MODEL'")


def test_predict_and_diagnose_take_what_fits(shell: Any, small: Path, data: Path, tmp_path: Path, written: Any) -> None:
    out, found = tmp_path / "tuned.ckpt", tmp_path / "found.npz"
    shell.run("finetune", small, "--data", data, "--valid", "50", "--epochs", "1", "-o", out)
    report = f"{out}.run.json"
    shell.run("predict", out, "--split", "valid", "--config", report, "-o", found)
    assert len(np.load(found)["rows"]) == 50
    assert shell.json("diagnose", out, "--config", report) == shell.json(
        "diagnose", out, "--data", data, "--valid", "50"
    )
    for command in ("predict", "diagnose"):
        assert shell.error(command, "--config", report).startswith("Missing argument 'MODEL'")
    spec = written(f"model = {str(out)!r}\ndata = {str(data)!r}\nrows = 20")
    assert shell.json("diagnose", "--config", spec) == shell.json("diagnose", out, "--data", data, "--rows", "20")
