"""Folders of other frameworks are scanned: numbers are clean, and what acts among them is found."""

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest

from ckpttool.scanning.walk import scan

FIXTURES = Path(__file__).parents[2] / "fixtures"


class Acts:
    def __reduce__(self) -> Any:
        return os.system, ("echo acted",)


@pytest.mark.parametrize("name", ["flax", "orbax/database", "orbax/folders"])
def test_what_frameworks_wrote_is_clean(name: str) -> None:
    result = scan([FIXTURES / name])
    assert (result.found, result.unread) == ([], [])
    assert result.scanned  # the others are texts


@pytest.mark.parametrize("place", ["params.Dense_0.kernel/c/0/1", "_sharding", "step/c"])
def test_a_pickle_among_chunks_is_found(tmp_path: Path, place: str) -> None:
    folder = shutil.copytree(FIXTURES / "orbax" / "folders", tmp_path / "a")
    (folder / place).write_bytes(pickle.dumps(Acts()))
    (finding,) = scan([folder]).found
    assert (finding.file, finding.severity) == (folder / place, "high")


def test_programs_and_what_nothing_describes_are_no_chunks(tmp_path: Path) -> None:
    folder = shutil.copytree(FIXTURES / "orbax" / "folders", tmp_path / "a")
    program, alone = folder / "step" / "c", tmp_path / "0"
    program.write_bytes(b"\x7fELF\1\2\3")
    alone.write_bytes(b"\xff\xfe\0\1numbers")
    assert [each.file for each in scan([folder, alone]).unread] == [program, alone]


def test_a_database_that_is_damaged_is_not_clean(tmp_path: Path) -> None:
    folder = shutil.copytree(FIXTURES / "orbax" / "database", tmp_path / "a")
    file = folder / "manifest.ocdbt"
    file.write_bytes(file.read_bytes()[:-1] + b"!")
    (unread,) = scan([folder]).unread
    assert (unread.file, "is damaged" in unread.problem) == (file, True)
