"""Folders for temporary files: the next process removes those of killed processes, and nothing else."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ckpttool.core.temporary_folders import PREFIX, TemporaryFolder

KILLED = """
import os, signal, sys
from ckpttool.remote.paths import path_of
from ckpttool.core.temporary_folders import TemporaryFolder
path_of("https://host/model.ckpt.index").parent.mkdir(parents=True)
(TemporaryFolder.new("salvage").path / "copy").touch()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    return tmp_path


def old(folder: Path) -> Path:
    os.utime(folder, (0, 0))
    return folder


def test_what_a_killed_process_has_left_goes_with_the_next(place: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED], check=False).returncode < 0
    left = [old(path) for path in place.iterdir()]
    assert sorted(path.name.split("-")[2] for path in left) == ["salvage", "urls"]
    new = TemporaryFolder.new("urls")
    assert [*place.iterdir()] == [new.path]
    new.remove()
    assert not [*place.iterdir()]


def test_nothing_is_removed_that_may_be_in_use_or_is_another_s(place: Path) -> None:
    young, used, public, other = (place / name for name in (f"{PREFIX}a-a", f"{PREFIX}a-b", f"{PREFIX}a-c", "x"))
    for folder in (young, used, other):
        folder.mkdir(0o700)
    public.mkdir(0o755)
    (place / f"{PREFIX}a-link").symlink_to(other)
    lock = os.open(used, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    before = {*place.iterdir()}
    for folder in (used, public, other):
        old(folder)
    TemporaryFolder.new("wall").remove()
    assert {*place.iterdir()} == before
    os.close(lock)
    TemporaryFolder.new("wall").remove()
    assert {*place.iterdir()} == before - {used}


def test_a_folder_is_its_user_s_alone() -> None:
    folder = TemporaryFolder.new("salvage")
    assert folder.path.stat().st_mode & 0o777 == 0o700
    folder.remove()
