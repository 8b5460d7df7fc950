"""Folders of unfinished runs: empty at the start, kept for a resumed run with the same options, and else refused."""

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpttool.core.errors import CkptError, CorruptCheckpoint, ExistingOutput, PlanError
from ckpttool.formats.writing.temporary import sweep
from ckpttool.training.unfinished import ASKED, unfinished

OPTIONS = {"rounds": 2, "lr": 0.1}


def done(folder: Path, resume: bool = False, overwrite: bool = False, asked: Any = None) -> list[str]:
    """Run to the end, and return what was in the folder at the start."""
    with unfinished(folder, asked or OPTIONS, resume, overwrite) as place:
        return sorted(path.name for path in place.iterdir())


def stopped(folder: Path, *results: str, resume: bool = False) -> None:
    """Run until an error after these results."""
    with pytest.raises(CkptError, match="stopped here"), unfinished(folder, OPTIONS, resume, False) as place:
        for result in results:
            (place / result).write_text("done")
        raise CkptError("stopped here")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "new" / "out.ckpt.rounds"


def test_what_is_done_leaves_no_folder(folder: Path) -> None:
    assert done(folder) == [ASKED]
    assert not folder.exists()


def test_what_is_stopped_before_a_result_leaves_none_either_and_need_not_be_resumed(folder: Path) -> None:
    stopped(folder)
    assert not folder.exists()
    folder.mkdir()
    (folder / ASKED).write_text("of a run that was killed")
    assert done(folder) == [ASKED]


def test_a_stopped_run_is_resumed_with_its_results(folder: Path) -> None:
    stopped(folder, "1.ckpt")
    stopped(folder, "2.ckpt", resume=True)
    assert done(folder, resume=True) == ["1.ckpt", "2.ckpt", ASKED]
    assert not folder.exists()


def killed(folder: Path, call: int) -> bool:
    """Run in a child that is killed at one of its calls that change files; return whether it was."""
    child = os.fork()
    if not child:
        calls = itertools.count(1)

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *args, **options: os._exit(9) if next(calls) == call else function(*args, **options)

        for name in ("mkdir", "open", "rename", "replace", "unlink", "rmdir"):
            setattr(os, name, counted(getattr(os, name)))
        with unfinished(folder, OPTIONS, False, False) as place:
            (place / "1.ckpt").write_text("done")
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def test_a_run_that_is_killed_at_any_call_is_resumed_and_leaves_nothing(folder: Path) -> None:
    folder.parent.mkdir()
    found = []
    for call in itertools.count(1):
        if not killed(folder, call):
            break
        begun = (folder / "1.ckpt").exists()
        found.append(begun)
        assert done(folder, resume=begun) == (["1.ckpt", ASKED] if begun else [ASKED])
        sweep(folder.parent)
        assert list(folder.parent.iterdir()) == []
    assert len(found) > 6
    assert set(found) == {True, False}


def test_results_are_refused_or_overwritten(folder: Path) -> None:
    stopped(folder, "1.ckpt")
    with pytest.raises(ExistingOutput, match=r"rounds holds what a run has done: resume with `resume`, or `overwrite`"):
        done(folder)
    assert (folder / "1.ckpt").exists()
    assert done(folder, overwrite=True) == [ASKED]


def test_a_run_with_other_options_is_not_resumed(folder: Path) -> None:
    stopped(folder, "1.ckpt")
    with pytest.raises(PlanError, match=r"rounds is of a run with other options: lr was 0\.1, now 0\.2$"):
        done(folder, resume=True, asked={**OPTIONS, "lr": 0.2})
    (folder / ASKED).write_bytes((folder / ASKED).read_bytes().replace(b"0.1", b"0.2"))
    with pytest.raises(CorruptCheckpoint, match=r"asked\.json is damaged: .*; `overwrite` begins again"):
        done(folder, resume=True, asked={**OPTIONS, "lr": 0.2})
    (folder / ASKED).unlink()
    with pytest.raises(CorruptCheckpoint, match=r"asked\.json is damaged"):
        done(folder, resume=True)
    assert (folder / "1.ckpt").exists()
