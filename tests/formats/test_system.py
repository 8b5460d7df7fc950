"""System calls of writers: a folder is locked once, and systems that lack a call are known by their errors."""

import ctypes
import errno
import fcntl
from pathlib import Path

import pytest

from ckpttool.core.errors import CkptError
from ckpttool.formats.writing import system
from ckpttool.formats.writing.system import exchange, folder_lock


def test_a_folder_is_locked_once_and_again_when_it_is_free(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "PATIENCE", 0.01)
    with (
        folder_lock(tmp_path),
        pytest.raises(CkptError, match="another process has been renaming files there for 0 s: try again later"),
        folder_lock(tmp_path),
    ):
        pass
    with folder_lock(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EBADF, errno.EINVAL])
def test_where_no_folder_can_be_locked_none_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fails(descriptor: int, operation: int) -> None:
        raise OSError(number, "no locks")

    monkeypatch.setattr(fcntl, "flock", fails)
    with folder_lock(tmp_path), folder_lock(tmp_path):
        pass


def test_another_error_of_a_lock_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", fails)
    with pytest.raises(OSError, match="broken"), folder_lock(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_system_that_cannot_exchange_names_is_no_error(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fails(*arguments: object) -> int:
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(system, "_renameat2", lambda: fails)
    assert not exchange(Path("a"), Path("b"))
    monkeypatch.setattr(system, "_renameat2", lambda: None)
    assert not exchange(Path("a"), Path("b"))


def test_an_exchange_that_fails_names_both(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(FileNotFoundError) as caught:
        exchange(tmp_path / "a", tmp_path / "b")
    assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / "a"), str(tmp_path / "b"))
