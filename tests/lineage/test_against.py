"""A catalogue entry as the reference of a comparison: the file that identifies it."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import UnknownName
from ckpttool.lineage.against import difference, hash_of_entry
from ckpttool.verbs.zoo_add import zoo_add


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint that is in the catalogue as `a`."""
    monkeypatch.setenv("CKPTTOOL_ZOO", str(tmp_path / "zoo"))
    checkpoint.save({"w": np.ones(3)}, tmp_path / "a.npz")
    zoo_add(tmp_path / "a.npz", "a")
    return tmp_path / "a.npz"


def test_an_entry_is_told_by_the_hash_of_its_file(entry: Path) -> None:
    assert hash_of_entry("zoo:a") == hashlib.sha256(entry.read_bytes()).hexdigest()
    with pytest.raises(UnknownName):
        hash_of_entry("zoo:other")


def test_a_checkpoint_is_that_of_an_entry_or_another(entry: Path) -> None:
    assert difference(entry, "zoo:a") is None
    checkpoint.save({"w": np.zeros(3)}, entry, overwrite=True)
    assert "expected sha256:" in str(difference(entry, "zoo:a"))
