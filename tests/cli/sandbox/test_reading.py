"""HDF5 is read in a confined child: its library's crashes become one line, and no other file is accessible."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint

AS_H5PY_FAILS = """
import h5py, os, signal, sys
from pathlib import Path
def file(*given, **options):
    {what}
h5py.File = file
from ckpttool.cli import run
sys.argv[0] = "ckpttool"
run()
"""
DIES = AS_H5PY_FAILS.format(what="os.kill(os.getpid(), signal.SIGSEGV)")


def run(code: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "w.h5"
    checkpoint.save({"dense/kernel": np.ones((2, 3), np.float32)}, path)
    return path


def test_a_death_of_the_library_is_one_line(weights: Path) -> None:
    died = run(DIES, "vars", weights)
    assert (died.returncode, died.stdout) == (2, "")
    assert died.stderr == (
        f"Error: {weights}: the process that read it was ended by SIGSEGV; --in-process reads it in this one\n"
    )
    assert run(DIES, "vars", weights, "--in-process").returncode < 0


@pytest.mark.parametrize("way", ["diff", "scan", "salvage"])
def test_commands_that_look_print_the_same_in_a_child_and_here(weights: Path, way: str, tmp_path: Path) -> None:
    more = {"show": ["dense/kernel"], "diff": [weights], "salvage": ["-o", tmp_path / "x.npz", "--overwrite"]}.get(
        way, []
    )
    code = "from ckpttool.cli import run; run()"
    child, here = (run(code, way, weights, *more, *option) for option in ([], ["--in-process"]))
    assert (child.returncode, child.stdout, child.stderr) == (here.returncode, here.stdout, here.stderr)
    assert child.returncode == 0, child.stderr


def test_the_child_reads_no_other_file(weights: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    reads = AS_H5PY_FAILS.format(what=f"Path({str(tmp_path / 'secret')!r}).read_text(); os._exit(7)")
    assert run(reads, "vars", weights, "--in-process").returncode == 7
    said = run(reads, "vars", weights)
    assert said.returncode == 2
    assert f"{tmp_path / 'secret'}" in said.stderr
    assert "Permission denied" in said.stderr


def test_other_formats_need_no_child(weights: Path, tmp_path: Path) -> None:
    checkpoint.save({"a": np.ones(2)}, tmp_path / "x.safetensors")
    forks = "import os\ndef fork(): os._exit(9)\nos.fork = fork\nfrom ckpttool.cli import run; run()"
    assert run(forks, "vars", tmp_path / "x.safetensors").returncode == 0
    assert run(forks, "vars", weights).returncode == 9


def test_a_map_of_weights_is_read_in_a_child_with_the_files_that_it_names(weights: Path, tmp_path: Path) -> None:
    shutil.copy(weights, tmp_path / "one.weights.h5")
    (tmp_path / "x.weights.json").write_text('{"weight_map": {"/vars": ["one.weights.h5"]}}')
    forks = "import os\ndef fork(): os._exit(9)\nos.fork = fork\nfrom ckpttool.cli import run; run()"
    assert run(forks, "vars", tmp_path / "x.weights.json").returncode == 9
    said = run("from ckpttool.cli import run; run()", "scan", tmp_path / "x.weights.json")
    assert (said.returncode, "nothing found" in said.stderr) == (0, True), said.stderr


def test_a_child_ends_at_once_with_the_exit_code_of_the_command(weights: Path, tmp_path: Path) -> None:
    checkpoint.save({"dense/kernel": np.zeros((2, 3), np.float32)}, tmp_path / "other.h5")
    code = "import atexit, os\natexit.register(lambda: print(os.getpid()))\nfrom ckpttool.cli import run; run()"
    differs = run(code, "diff", weights, tmp_path / "other.h5")
    assert differs.returncode == 1
    assert len([line for line in differs.stdout.splitlines() if line.isdigit()]) == 1  # this process, not the child
