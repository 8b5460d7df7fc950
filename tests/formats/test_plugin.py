"""A package that adds a format, installed as by pip: then every command supports the format."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PACKAGE = Path(__file__).parents[1] / "plugin"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package in it, for PYTHONPATH; nothing is downloaded."""
    source, target = tmp_path_factory.mktemp("source") / "plugin", tmp_path_factory.mktemp("target")
    shutil.copytree(PACKAGE, source)
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", target, source]
    subprocess.run(command, check=True, capture_output=True)
    return target


@pytest.fixture
def ckpttool(installed, pytestconfig):
    """Run a command in a process with the package."""

    def run(*arguments):
        path = os.pathsep.join([str(installed), str(pytestconfig.rootpath)])
        command = [sys.executable, "-m", "ckpttool", *map(str, arguments)]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout, done.stderr

    return run


def test_a_file_of_the_format_is_listed(ckpttool, tmp_path):
    (tmp_path / "x.lines").write_text("#lines\nfc/bias 1.0 2.0\nfc/scale 3.0\n")
    rows = "fc/bias\t[2]\tfloat64\t16\tweight\nfc/scale\t[1]\tfloat64\t8\tweight\n"
    assert ckpttool("vars", tmp_path / "x.lines") == (0, rows, "")


def test_the_list_of_formats_ends_with_it(ckpttool):
    code, text, _ = ckpttool("formats", "--json")
    last = json.loads(text)[-1]
    assert (code, last["name"], last["can"], last["suffixes"]) == (0, "lines", "read, write", [".lines"])
    assert "float32" in last["cannot_hold"]
    assert "float64" not in last["cannot_hold"]


def test_it_is_written_by_its_suffix_and_refuses_what_it_cannot_hold(ckpttool, tmp_path):
    np.savez(tmp_path / "a.npz", a=np.array([1.5, 2.5]))
    code, _, _ = ckpttool("convert", tmp_path / "a.npz", "-o", tmp_path / "b.lines")
    assert (code, (tmp_path / "b.lines").read_text()) == (0, "#lines\na 1.5 2.5\n")
    np.savez(tmp_path / "c.npz", c=np.ones((2, 2)))
    code, _, said = ckpttool("convert", tmp_path / "c.npz", "-o", tmp_path / "d.lines")
    assert code == 2
    assert "c is float64 [2, 2], expected a vector of float64" in said
    assert not (tmp_path / "d.lines").exists()
