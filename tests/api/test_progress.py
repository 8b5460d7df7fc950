"""The progress bar of a long function: in a terminal and in a notebook, but not elsewhere or if it must be quiet."""

import io
import sys
import types
from typing import Any

import pytest

from ckpttool.api.progress import ProgressBar, reporting
from ckpttool.core.errors import WrongKind
from ckpttool.training.callbacks.callback import Callback, Progress

STEP = Progress(epoch=1, epochs=2, step=5, steps=10, loss=0.5, seconds=1.0, rows_per_second=100.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Handle:
    """The result of IPython's `display`: its output can be replaced."""

    def __init__(self, shown: list[str]) -> None:
        self.shown = shown

    def update(self, data: dict[str, str], raw: bool) -> None:
        assert raw
        self.shown.append(data["text/html"])


def drive(callback: Callback) -> None:
    callback.on_notes(["a note <b>", "a note <b>"])
    callback.on_cache_progress(10, 10)
    callback.on_progress(STEP)
    callback.on_run_end()


def test_nothing_is_shown_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert reporting((), 1) == []


def test_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    own = Callback()
    assert reporting(own, 0) == [own]
    assert len(reporting([own], 1)) == 2


def test_a_bar_in_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    (bar,) = reporting((), 1)
    drive(bar)
    assert terminal.getvalue().count("a note") == 1


def test_a_bar_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []

    def display(data: dict[str, str], raw: bool, display_id: bool) -> Handle:
        assert raw and display_id
        shown.append(data["text/html"])
        return Handle(shown)

    ipython: Any = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=True)
    displays: Any = types.ModuleType("IPython.display")
    displays.display = display
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", displays)
    (bar,) = reporting((), 1)
    assert isinstance(bar, ProgressBar)
    drive(bar)
    assert "epoch 1/2" in shown[-2] or "epoch 1/2" in "".join(shown)
    assert "a note &lt;b&gt;" in shown[-1]
    assert "epoch" not in shown[-1]


def test_what_is_no_callback() -> None:
    for wrong in (3, print, [3]):
        with pytest.raises(WrongKind, match="`callbacks`: expected a Callback"):
            reporting(wrong, 1)  # type: ignore[arg-type]
