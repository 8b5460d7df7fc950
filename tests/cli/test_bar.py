"""The progress bar in a terminal while a model trains or a cache is filled; no bar elsewhere."""

import io
import os
import pty
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from ckpttool.cli import main
from ckpttool.cli.show import progress
from ckpttool.cli.show.progress import Bar

REDRAWN = "\r\x1b[2K"
ERASED = "\n\r\x1b[1A\x1b[2K"
"""The end of a bar: `rich` moves to the next line and back, and leaves that one empty."""


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Screen:
    """A terminal of 80 columns as standard error."""
    screen = Screen()
    monkeypatch.setattr(
        progress, "sys", SimpleNamespace(stderr=screen)
    )  # pytest puts its own sys.stderr before each test
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    return screen


def plain(text: str) -> str:
    """The text without colors and cursor movements."""
    return re.sub(r"\x1b\[(\d;?)*m|\x1b\[\?25[hl]", "", text)


def test_a_line_says_what_is_under_way_and_how_far(screen: Screen) -> None:
    Bar().move("epoch 2/4", 30, 40, "step 30/40  loss 0.1234")
    line = plain(screen.getvalue())
    assert line.startswith("epoch 2/4 ━━━━")
    assert line.rstrip().endswith("step 30/40  loss 0.1234")
    assert len(line) <= 80
    assert "\n" not in line


def test_a_line_is_cut_rather_than_wrapped(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    Bar().move("epoch 2/4", 30, 40, "step 30/40  12,345 rows/s  loss 0.1234")
    assert plain(screen.getvalue()).startswith("epoch 2/4 ")
    assert len(plain(screen.getvalue())) <= 40
    assert "\n" not in screen.getvalue()


def test_it_is_drawn_again_only_after_a_while(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "REDRAWN", 3600.0)
    shown = Bar()
    shown.move("epoch", 1, 3, "one")
    shown.move("epoch", 2, 3, "two")
    assert "two" not in screen.getvalue()
    monkeypatch.setattr(progress, "REDRAWN", 0.0)
    shown.move("epoch", 3, 3, "three")
    first, last = plain(screen.getvalue()).split(REDRAWN)
    assert (first.split()[-1], last.split()[-1]) == ("one", "three")


def test_what_is_printed_stands_above_it(screen: Screen) -> None:
    shown = Bar()
    shown.move("epoch", 1, 2, "facts")
    line = plain(screen.getvalue())
    with shown.aside():
        screen.write("printed\n")
    stopped = f"{line}{REDRAWN}{line}{ERASED}"
    assert plain(screen.getvalue()) == f"{stopped}printed\n{REDRAWN}{line}"
    shown.clear()
    shown.clear()
    assert plain(screen.getvalue()) == f"{stopped}printed\n{REDRAWN}{stopped}"


def test_the_cursor_is_back_when_it_is_gone(screen: Screen) -> None:
    shown = Bar()
    shown.move("epoch", 1, 2, "facts")
    shown.clear()
    assert re.findall(r"\x1b\[\?25[hl]", screen.getvalue()) == ["\x1b[?25l", "\x1b[?25h"]


def test_there_is_none_in_a_pipe_or_on_a_dumb_terminal(screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    Bar().move("epoch", 1, 2, "facts")
    monkeypatch.setenv("TERM", "xterm")
    piped = io.StringIO()
    monkeypatch.setattr(progress, "sys", SimpleNamespace(stderr=piped))
    Bar().move("epoch", 1, 2, "facts")
    assert (screen.getvalue(), piped.getvalue()) == ("", "")


@pytest.fixture
def on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Return a function that runs a command with a terminal as standard error: its exit code, output, and screen."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        ours, theirs = pty.openpty()
        shown: list[bytes] = []
        reader = threading.Thread(target=lambda: shown.extend(iter(lambda: _read(ours), b"")))
        reader.start()
        with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as patch, pytest.raises(SystemExit) as ended:
            patch.setattr(sys, "stderr", terminal)
            main([str(argument) for argument in arguments])
        reader.join()
        os.close(ours)
        code = ended.value.code
        assert isinstance(code, int)
        return code, capsys.readouterr().out, plain(b"".join(shown).decode())

    return run


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 1 << 16)
    except OSError:  # the other end was closed
        return b""


def test_a_terminal_shows_epochs_and_the_fill_of_a_cache_and_a_pipe_gets_lines(
    on_a_terminal: Callable[..., tuple[int, str, str]], small: Path, data: Path, tmp_path: Path
) -> None:
    options = [
        "--freeze",
        "hidden1",
        "--cache",
        "--cache-dir",
        tmp_path / "cache",
        "--epochs",
        "3",
        "--batch-size",
        "270",
    ]
    code, printed, screen = on_a_terminal("finetune", small, "--data", data, *options, "-o", tmp_path / "out.ckpt")
    assert code == 0
    lines = [line[:9] for line in printed.splitlines()[6:]]
    assert lines == ["epoch   1", "epoch   2", "epoch   3", str(tmp_path)[:9], "the valid"]
    assert "\x1b" not in printed
    assert re.search(r"cache ━+ 300/300 rows", screen)
    assert re.search(r"epoch 1/3 ━+ step 1/1  [\d,]+ rows/s  loss \d\.\d{4}  0:00 left, run \d+:\d\d", screen)
    assert screen.endswith(ERASED)


def test_an_error_has_a_line_of_its_own(
    on_a_terminal: Callable[..., tuple[int, str, str]], small: Path, data: Path, tmp_path: Path
) -> None:
    options = ["--lr", "1e30", "--batch-size", "270", "-o", tmp_path / "out.ckpt"]
    code, _, screen = on_a_terminal("finetune", small, "--data", data, *options)
    assert code == 2
    assert "step 1/1" in screen
    assert re.search(re.escape(ERASED) + r"Error: .*loss became[^\n]*\n$", screen)
