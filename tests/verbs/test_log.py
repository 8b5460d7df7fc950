"""The log of a run next to an output, and of a graph's stored properties of its rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from ckpttool.core.errors import FormatError
from ckpttool.lineage.records import Chain, Source
from ckpttool.training.run_report import report_beside
from ckpttool.verbs import log
from ckpttool.verbs.log import History

FIXTURE = Path(__file__).parents[2] / "fixtures" / "bundles" / "adam.ckpt-3"
RUN = {"model": "a.ckpt", "data": {"path": "x.npz"}, "options": {}, "best_epoch": 3, "versions": {}}


@pytest.mark.parametrize(
    ("run", "line"),
    [
        (RUN, "a.ckpt trained on x.npz, best epoch 3"),
        ({**RUN, "data": "x.npz"}, "a.ckpt trained on x.npz, best epoch 3"),
        ({**RUN, "model": None, "best_epoch": None}, "new layers trained on x.npz"),
    ],
)
def test_a_run_is_one_line(run: dict[str, Any], line: str) -> None:
    assert list(History(Path("out.ckpt"), Chain(), run).lines()) == [f"run: {report_beside(Path('out.ckpt'))}: {line}"]


def test_facts_come_before_the_run(tmp_path: Path) -> None:
    history = History(Path("out.ckpt"), Chain(), RUN, ("classes: a, b",))
    assert [line.split(":")[0] for line in history.lines()] == ["classes", "run"]
    assert history.as_json()["facts"] == ["classes: a, b"]
    assert list(History(Path("out.ckpt"), Chain(), None, ("classes: a, b",)).lines())[1:] == ["classes: a, b"]


def test_facts_that_cannot_be_read_are_said_not_to_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise FormatError("no such graph")

    monkeypatch.setattr(log, "graph_that_keeps", refuse)
    assert History.of(FIXTURE).facts == ("what the graph keeps of its rows is not known: no such graph",)


def test_of_a_report_the_parts_that_say_where_weights_are_from(tmp_path: Path) -> None:
    path = report_beside(tmp_path / "x.npz")
    path.write_text(json.dumps({**RUN, "more": 1}))
    assert log._read_report(path) == RUN


@pytest.mark.parametrize(
    ("path", "shown"), [("https://host/a.npz", "https://host/a.npz"), ("gone/a[1].npz", "{here}/a[1].npz")]
)
def test_a_plan_has_sources_where_they_are_now(tmp_path: Path, path: str, shown: str) -> None:
    (tmp_path / "a[1].npz").write_bytes(b"")
    source = log._as_source(Source(path, "npz", "sha256:12", ("a.npz",)), tmp_path)
    assert source == {"path": shown.format(here=tmp_path), "sha256": "12"}
