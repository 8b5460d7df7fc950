"""Cheap checks are first: missing data and a wrong SPEC are reported before anything slow."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ckpttool.data.named import require_data

SLOW = ("tensorflow", "keras", "h5py", "numpy", "ckpttool.verbs", "ckpttool.model.model", "ckpttool.training.trainer")
PROBE = """
import sys
from ckpttool.cli import main
try:
    main(sys.argv[1:], prog_name="ckpttool")
finally:
    print("MODULES", *(name for name in SLOW if name in sys.modules), file=sys.stderr)
"""
NEW = ("-o", "new.ckpt")


def told(*arguments: str | Path, slow: tuple[str, ...] = SLOW) -> tuple[str, str]:
    """The one line with which a command ends, and the slow modules that it has imported by then."""
    command = [sys.executable, "-c", f"SLOW = {slow!r}\n{PROBE}", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    line, modules = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (2, "")
    return line.removeprefix("Error: "), modules


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "MODEL", "--data", "gone.npz"),
        ("predict", "MODEL", "--data", "gone.npz", "-o", "out.csv"),
        ("diagnose", "MODEL", "--data", "gone.npz"),
        ("cache", "MODEL", "--data", "gone.npz", "--freeze", "hidden1"),
        ("finetune", "MODEL", "--data", "gone.npz", *NEW),
        ("lr-find", "MODEL", "--data", "gone.npz"),
        ("search", "MODEL", "--data", "gone.npz", "--quick"),
        ("pretrain", "--data", "gone.npz", "--layers", "dense(3)", "--method", "autoencoder", *NEW),
        ("check", "MODEL", "--data", "gone.npz", "--min-accuracy", "0.9"),
        ("report", "MODEL", "--data", "gone.npz", "-o", "page.html"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_data_that_are_not_there_are_told_once_and_at_once(arguments: tuple[str, ...], model: Path) -> None:
    line, modules = told(*(str(model) if word == "MODEL" else word for word in arguments))
    assert line.startswith("gone.npz: no such file; data are .npz, ")
    assert modules == "MODULES"


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "GONE", "--data", "rows.npz"),
        ("evaluate", "MODEL", "--data", "rows.npz", "--max-drop", "0.01", "--baseline", "GONE"),
        ("predict", "GONE", "--data", "rows.npz", "-o", "out.csv"),
        ("diagnose", "GONE", "--data", "rows.npz"),
        ("cache", "GONE", "--data", "rows.npz", "--freeze", "hidden1"),
        ("finetune", "GONE", "--data", "rows.npz", *NEW),
        ("finetune", "MODEL", "--data", "rows.npz", "--teacher", "GONE", *NEW),
        ("search", "GONE", "--data", "rows.npz", "--quick"),
        ("reuse", "GONE", "--layers", "hidden1", "--head", "fc = dense(3)", *NEW),
        ("reuse", "MODEL", "--layers", "hidden1", "--into", "GONE", *NEW),
        ("import", "GONE", "--into", "MODEL", *NEW),
        ("import", "MODEL", "--into", "GONE", *NEW),
        ("freeze", "GONE", "--layers", "hidden1", *NEW),
        ("report", "GONE", "-o", "page.html"),
        ("fold", "GONE", "-o", "frozen.pb"),
        ("strip", "GONE", *NEW),
        ("export-saved-model", "GONE", "-o", "folder"),
        ("modernize", "GONE", *NEW),
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_so_is_a_model_that_is_not_there(arguments: tuple[str, ...], model: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.npz").write_bytes(b"")
    (tmp_path / "model.ckpt.index").write_bytes(b"")
    gone = tmp_path / "modle.ckpt"
    named = {"MODEL": model, "GONE": gone, "rows.npz": tmp_path / "rows.npz"}
    line, modules = told(*(named.get(word, word) for word in arguments))
    assert line == f"{gone} is missing: no such model or checkpoint; nearest: model.ckpt"
    assert modules == "MODULES"


def test_an_architecture_has_its_name_checked(tmp_path: Path) -> None:
    line, modules = told("reuse", "keras:MobileNetV9", "--layers", "x", "--head", "fc = dense(3)", *NEW)
    assert line.startswith("keras:MobileNetV9: keras.applications has no such architecture; nearest: MobileNetV2")
    assert modules == "MODULES"


def test_a_file_of_options_may_name_a_model_that_is_gone(shell: Any, model: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(f'model = "{tmp_path / "gone.ckpt"}"\n')
    data = model.parent / "mnist_small.npz"
    answer = shell.run("evaluate", model, "--data", data, "--config", tmp_path / "run.toml")
    assert "accuracy" in answer.stdout


def test_so_are_rows_beside_the_data(model: Path, tmp_path: Path) -> None:
    (tmp_path / "few.npz").write_bytes(b"")
    several = ("--pseudo-label", "0.2", "--unlabelled", "gone.npz")
    line, modules = told("finetune", model, "--data", tmp_path / "few.npz", *several, *NEW)
    assert line.startswith("gone.npz: no such file") and modules == "MODULES"


def test_a_merge_looks_for_its_rows_first(shell: Any, model: Path) -> None:
    line = shell.error("merge", model, model, "--how", "soup", "--data", "gone.npz", *NEW)
    assert line.startswith("gone.npz: no such file")


@pytest.mark.parametrize(
    "arguments",
    [
        ("new", "--input", "4", "--layers", "fc = dens(3)", *NEW),
        ("reuse", "MODEL", "--layers", "hidden1", "--head", "fc = dens(3)", *NEW),
        ("search", "MODEL", "--data", "DATA", "--head", "fc = dens(3)", *NEW),
        ("pretrain", "--data", "DATA", "--layers", "fc = dens(3)", "--method", "autoencoder", *NEW),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_wrong_layer_is_told_at_once(arguments: tuple[str, ...], model: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.npz").write_bytes(b"")
    named = {"MODEL": str(model), "DATA": str(tmp_path / "rows.npz")}
    line, modules = told(*(named.get(word, word) for word in arguments))
    option = "--head" if "--head" in arguments else "--layers"
    assert line.startswith(f"{option}, line 1, column 6, at 'dens(3)': no layer dens") and line.endswith(
        "nearest: dense"
    )
    assert modules == "MODULES"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("finetune", "MODEL", "--augment", "shift(0.1"), "--augment, line 1, column 6, at 'shift(0.1': '(' was"),
        (
            ("finetune", "MODEL", "--augment", "shfit(0.1)"),
            "--augment, line 1, column 1, at 'shfit(0.1)': no operation",
        ),
        (("pretrain", "--layers", "dense(3)", "--method", "autoencodr()"), "no method autoencodr; known: autoencoder"),
    ],
    ids=["augment", "operation", "method"],
)
def test_so_is_a_wrong_call(arguments: tuple[str, ...], message: str, model: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.npz").write_bytes(b"")
    given = (str(model) if word == "MODEL" else word for word in arguments)
    line, modules = told(*given, "--data", tmp_path / "rows.npz", *NEW)
    assert line.startswith(message)
    assert modules == "MODULES"


def test_a_list_of_files_lacks_the_one_that_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(b"")
    with pytest.raises(OSError, match=r"y\.npy: no such file"):
        require_data(Path(f"{tmp_path / 'x.npy'},{tmp_path / 'y.npy'}"))
    require_data(Path("keras:mnist"))


@pytest.mark.slow
def test_nothing_of_tensorflow_reaches_the_terminal(model: Path) -> None:
    """Standard error of a run contains ckpttool's messages about the data, and nothing else."""
    data = model.parent / "mnist_small.npz"
    names = ("TF_CPP_MIN_LOG_LEVEL", "TF_ENABLE_ONEDNN_OPTS")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, "-m", "ckpttool", "evaluate", str(model), "--data", str(data)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert [line for line in done.stderr.splitlines() if not line.startswith("data: ")] == []
