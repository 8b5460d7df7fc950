"""The location of the user's cache folder on each system."""

from pathlib import Path

import platformdirs
import pytest
from platformdirs.macos import MacOS
from platformdirs.unix import Unix

from ckpttool.core.cache_folder import cache_folder


def test_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "ckpttool"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(platformdirs, "PlatformDirs", Unix)
    assert cache_folder() == tmp_path / ".cache" / "ckpttool"
    monkeypatch.setattr(platformdirs, "PlatformDirs", MacOS)
    assert cache_folder() == tmp_path / "Library" / "Caches" / "ckpttool"
