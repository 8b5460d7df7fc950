"""Hostile names: in no command do they control a terminal or a page."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool import checkpoint

HOSTILE = {
    "title\x1b]0;owned\x07": "title\\x1b]0;owned\\x07",
    "colour\x9b31m": "colour\\x9b31m",
    "bidi\u202egnp.exe": "bidi\\u202egnp.exe",
    "isolate\u2066\u200b": "isolate\\u2066\\u200b",
    "no text\udcff\udc9b": "no text\\udcff\\udc9b",
    "two\nlines\r": "two\\nlines\\r",
    "<script>alert(1)</script>": "<script>alert(1)</script>",
}
"""Names, and how they are shown."""
LONG = "long/" + "y" * 200_000


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    path = tmp_path / "hostile.ckpt"
    checkpoint.save({name: np.ones(2, np.float32) for name in (*HOSTILE, LONG)}, path)
    return path


def test_data_is_escaped_and_whole(shell: Any, hostile: Path) -> None:
    for command in ("vars", "layers", "stats"):
        text = shell.run(command, hostile).stdout
        assert text.replace("\n", "").replace("\t", "").isprintable()
        assert all(shown in text for shown in HOSTILE.values()) and LONG in text


def test_json_has_the_names_and_no_byte_that_steers(shell: Any, hostile: Path) -> None:
    text = shell.run("vars", hostile, "--json").stdout
    assert text.replace("\n", "").isprintable()
    assert {row["name"] for row in json.loads(text)} == {*HOSTILE, LONG}


def test_a_table_leaves_out_the_middle_of_a_name_without_end(
    shell: Any, hostile: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CKPTTOOL_TABLE", "1")
    text = shell.run("vars", hostile).stdout
    assert len(text) < 10_000 and text.replace("\n", "").isprintable()


@pytest.mark.parametrize(
    "arguments",
    [
        ("edit", "--keep", "titel", "-o", "out.ckpt"),
        ("show", "two lines"),
        ("show", "long/yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy"),
        ("edit", "--rename", ".*=>same", "-o", "out.ckpt"),
        ("convert", "-o", "out.npz"),
        ("edit", "--cast", "int4:no text.*=float16", "-o", "out.ckpt"),
        ("import", "--into", "nowhere.ckpt\x1b[2J", "-o", "out.ckpt"),
    ],
)
def test_errors_are_escaped_and_short(
    shell: Any, hostile: Path, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    line = shell.error(arguments[0], hostile, *arguments[1:])
    assert line.isprintable() and len(line) < 10_000


def test_a_damaged_tensor_is_named_in_escapes(shell: Any, hostile: Path) -> None:
    data = Path(f"{hostile}.data-00000-of-00001")
    data.write_bytes(bytes(len(data.read_bytes())))
    result = shell.run("verify", hostile, exit_code=1)
    assert result.stdout.replace("\n", "").replace("\t", "").isprintable()
    assert result.stderr.replace("\n", "").isprintable()
    assert "bidi\\u202egnp.exe" in result.stdout


def test_a_page_has_them_in_escapes(shell: Any, hostile: Path, tmp_path: Path) -> None:
    shell.run("diff", hostile, hostile, "--html", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert page.replace("\n", "").isprintable()
    assert "&lt;script&gt;alert(1)" in page and "<script>alert" not in page and "bidi\\u202egnp.exe" in page


def test_a_path_that_is_no_text_is_shown(shell: Any, tmp_path: Path) -> None:
    assert shell.error("vars", f"{tmp_path}/no\udcff\x1b[1m.ckpt").isprintable()


@pytest.mark.parametrize("arguments", [("vars", "--json"), ("stats",)])
def test_a_terminal_without_unicode_gets_no_traceback(hostile: Path, arguments: tuple[str, ...]) -> None:
    checkpoint.save({"größe": np.ones(1), "no text\udcff": np.ones(1)}, hostile, overwrite=True)
    command, *options = arguments
    done = subprocess.run(
        [sys.executable, "-m", "ckpttool", command, str(hostile), *options],
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
        capture_output=True,
        check=True,
    )
    assert b"\\udcff" in done.stdout


def test_closed_streams_are_no_error(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", w=np.ones(2))
    command = f"{shlex.quote(sys.executable)} -m ckpttool vars {shlex.quote(str(tmp_path / 'x.npz'))}"
    for closed in (">&-", "2>&-", ">&- 2>&-"):
        done = subprocess.run(["bash", "-c", f"{command} {closed}"], capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
