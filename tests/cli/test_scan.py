"""`scan`: a row for each finding, JSON and SARIF, and an exit code that is 0 only if clean."""

import json
from pathlib import Path
from typing import Any

import pytest

import ckpttool
from ckpttool.core.errors import CkptError
from tests.hostile_models import NESTED, acting, graph, write


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    folder = tmp_path / "downloaded"
    folder.mkdir()
    write(
        graph(*acting("WriteFile"), *acting("ReadFile", "read")[2:], *acting("PrintV2", "note")[2:]), folder / "x.meta"
    )
    return folder


def test_findings_are_rows_the_worst_first(shell: Any, hostile: Path) -> None:
    result = shell.run("scan", hostile, exit_code=1)
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[:4] for row in rows] == [
        ["high", str(hostile / "x.meta"), "act", "WriteFile"],
        ["medium", str(hostile / "x.meta"), "read", "ReadFile"],
        ["low", str(hostile / "x.meta"), "note", "PrintV2"],
    ]
    assert result.stderr == "1 file scanned: 1 high, 1 medium, 1 low\n"
    assert len(shell.lines("scan", hostile, "--severity", "medium", exit_code=1)) == 2


def test_json_has_every_field(shell: Any, hostile: Path) -> None:
    document = shell.json("scan", hostile, exit_code=1)
    assert (document["clean"], document["scanned"], document["unread"]) == (False, 1, [])
    first = document["findings"][0]
    assert first["kind"] == "graph/writes-files" and set(first) == {
        *("file", "kind", "where", "what", "severity", "reason", "helps"),
    }


def test_alike_findings_are_one_row_and_each_in_json(shell: Any, tmp_path: Path) -> None:
    write(graph(*acting("WriteFile"), *acting("WriteFile", "act2")[2:]), tmp_path / "x.meta")
    (line,) = shell.lines("scan", tmp_path, exit_code=1)
    assert "\tact and 1 more\t" in line
    assert len(shell.json("scan", tmp_path, exit_code=1)["findings"]) == 2


def test_sarif_has_the_required_fields(shell: Any, hostile: Path, tmp_path: Path) -> None:
    (hostile / "y.meta").write_bytes(b"???")
    shell.run("scan", hostile, "--sarif", tmp_path / "out.sarif", exit_code=1)
    log = json.loads((tmp_path / "out.sarif").read_text())
    assert log["version"] == "2.1.0"
    (run,) = log["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert run["tool"]["driver"]["name"] == "ckpttool" and len(run["results"]) == 3
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"] and result["level"] in ("error", "warning", "note")
        assert result["message"]["text"] and result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
    (invocation,) = run["invocations"]
    assert invocation["executionSuccessful"] is False and len(invocation["toolExecutionNotifications"]) == 1
    assert "exists already" in shell.error("scan", hostile, "--sarif", tmp_path / "out.sarif")


def test_what_is_clean_and_what_cannot_be_read(shell: Any, model: Path, tmp_path: Path) -> None:
    assert shell.run("scan", model).stdout == ""
    (tmp_path / "x.meta").write_bytes(b"???")
    result = shell.run("scan", tmp_path, exit_code=2)
    assert (
        "1 could not be read, and are not clean" in result.stderr and "x.meta: neither a MetaGraphDef" in result.stderr
    )
    assert "is missing" in shell.error("scan", tmp_path / "nothing")


def test_hostile_names_are_escaped(shell: Any, tmp_path: Path) -> None:
    write(graph(*acting("WriteFile", "act\x1b[31m\u202e")), tmp_path / "x.meta")
    result = shell.run("scan", tmp_path, exit_code=1)
    assert result.stdout.replace("\n", "").replace("\t", "").isprintable() and "act\\x1b[31m\\u202e" in result.stdout


def test_the_verdict_is_that_of_the_gate(shell: Any, tmp_path: Path) -> None:
    """Whatever is rejected when run is found, without TensorFlow."""
    from ckpttool.core.errors import GraphError
    from ckpttool.graph.files import load
    from ckpttool.graph.gate import require_computing

    for place, make in NESTED.items():
        path = write(make("WriteFile"), tmp_path / "x.meta")
        try:
            require_computing(load(path))
        except GraphError:
            assert shell.run("scan", path, exit_code=1), place


def test_a_url_is_refused_by_the_command_and_the_function(shell: Any) -> None:
    url = "http://host/model.npz"
    assert f"{url} is a URL, and only local files are scanned" in shell.run("scan", url, exit_code=2).stderr
    with pytest.raises(CkptError, match=f"^{url} is a URL"):
        ckpttool.scan(url)
