"""Logs and warnings of libraries are escaped: hostile names do not control the terminal."""

import logging
import warnings

import pytest

from ckpttool.cli.show.logs import escape_logs

NAME, SHOWN = "no \x1b[2J name\u202e\udcff", "no \\x1b[2J name\\u202e\\udcff"


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    escape_logs()


def test_logs_are_escaped(capsys):
    record = logging.LogRecord("h5py", logging.WARNING, "", 0, "%s is odd", (NAME,), None)
    logging.lastResort.handle(record)
    assert capsys.readouterr().err == f"{SHOWN} is odd\n"
    assert logging.lastResort.level == logging.WARNING


def test_warnings_are_escaped():
    assert warnings.formatwarning(UserWarning(NAME), UserWarning, "file", 1) == f"UserWarning: {SHOWN}\n"
