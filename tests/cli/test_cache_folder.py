"""The feature cache as a folder: its content, and how entries are evicted."""

import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ckpttool.data.feature_store import FeatureStore
from ckpttool.data.feature_writer import lock_entry
from ckpttool.verbs.cache_prune import DAY


def fill(root: Path, key: str, rows: int = 10, days: float = 0, whole: bool = True) -> None:
    """Fill an entry, or a part of it, dated some days ago."""
    entry = FeatureStore(root).entry(key)
    with entry.fill({"hidden/Relu:0": (np.float32, (4,))}, rows, durable_every=1) as writer:
        writer.append({"hidden/Relu:0": np.ones((rows if whole else 2, 4), np.float32)})
        if whole:
            writer.finish()
    for path in entry.path.iterdir():
        os.utime(path, (time.time() - days * DAY,) * 2)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "cache"
    for number, key in enumerate(("old", "middle", "young")):
        fill(folder, key, rows=1000, days=20 - 10 * number)
    (folder / "notes").mkdir()
    (folder / "notes" / "mine.txt").write_text("not of the cache")
    return folder


def test_entries_are_listed_and_others_folders_are_not(shell: Any, root: Path) -> None:
    rows = shell.json("cache", "list", "--cache-dir", root)
    assert [(row["entry"], row["rows"], row["state"]) for row in rows] == [
        (key, 1000, "complete") for key in ("middle", "old", "young")
    ]
    assert rows[0]["tensors"] == ["hidden/Relu:0"]
    assert rows[0]["bytes"] > 16_000
    assert shell.run("cache", "list", "--cache-dir", root).stderr.startswith("3 entries, ")


def test_a_cache_that_is_not_there_has_no_entries(shell: Any, tmp_path: Path) -> None:
    assert shell.json("cache", "list", "--cache-dir", tmp_path / "none") == []
    assert shell.json("cache", "prune", "--cache-dir", tmp_path / "none")["removed"] == []


def test_the_old_go_by_their_age_or_until_there_is_room(shell: Any, root: Path) -> None:
    prune = ("cache", "prune", "--cache-dir", root)
    assert shell.json(*prune, "--older-than", 15, "--dry-run")["removed"] == ["old"]
    assert shell.json(*prune, "--max-size", "20KB", "--dry-run")["removed"] == ["old", "middle"]
    assert shell.json(*prune, "--older-than", 15)["removed"] == ["old"]
    assert sorted(path.name for path in root.iterdir()) == ["middle", "notes", "young"]
    assert shell.json(*prune, "--all")["kept"] == 0
    assert (root / "notes" / "mine.txt").exists()


def test_fills_that_were_stopped_go_without_being_named(shell: Any, root: Path) -> None:
    fill(root, "stopped", whole=False)
    states = {row["entry"]: row["state"] for row in shell.json("cache", "list", "--cache-dir", root)}
    assert states["stopped"] == "unfinished"
    assert shell.json("cache", "prune", "--cache-dir", root)["removed"] == ["stopped"]


def test_what_is_being_filled_stays(shell: Any, root: Path) -> None:
    lock = lock_entry(root / "old")
    try:
        found = shell.run("cache", "prune", "--cache-dir", root, "--all")
    finally:
        os.close(lock)
    assert found.stdout.startswith("removed 2 entries, ")
    assert found.stderr == "1 entry being filled: old\n"


def test_the_command_that_fills_is_there_as_ever(shell: Any, model: Path, tmp_path: Path) -> None:
    assert "Missing option '--freeze'" in shell.error("cache", model, "--data", tmp_path)
    assert "is not a size such as" in shell.error("cache", "prune", "--max-size", "much")


def test_a_link_in_the_folder_is_no_entry(shell: Any, root: Path, tmp_path: Path) -> None:
    """What it leads to is somebody else's: nothing is removed there."""
    (root / "old").rename(tmp_path / "elsewhere")
    (root / "old").symlink_to(tmp_path / "elsewhere")
    before = sorted(each.name for each in (tmp_path / "elsewhere").iterdir())
    assert "old" not in shell.json("cache", "prune", "--cache-dir", root, "--all")["removed"]
    assert sorted(each.name for each in (tmp_path / "elsewhere").iterdir()) == before
