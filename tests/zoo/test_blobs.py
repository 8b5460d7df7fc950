"""Files that are stored under their hashes: of one version, or refused; and files that differ later are named."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import ckpttool
from ckpttool.catalogue.layout import Catalogue
from ckpttool.core.errors import CkptError, CorruptCheckpoint
from ckpttool.zoo.blobs import put
from ckpttool.zoo.checking import check


@pytest.mark.parametrize("content", [b"5678", b"12345678"], ids=["same size", "longer"])
def test_a_file_that_changes_while_it_is_stored_is_refused(tmp_path: Path, content: bytes) -> None:
    catalogue, source = Catalogue.begun(tmp_path / "zoo"), tmp_path / "a.bin"
    source.write_bytes(b"1234")
    before = sorted(catalogue.root.rglob("*"))
    with pytest.raises(CorruptCheckpoint, match=r"a\.bin was changed while it was read"):
        put(catalogue, source, lambda at, piece: source.write_bytes(content))
    assert sorted(catalogue.root.rglob("*")) == before


def test_a_file_of_holes_that_would_fill_the_disk_is_refused_before_a_byte_is_stored(tmp_path: Path) -> None:
    catalogue, source = Catalogue.begun(tmp_path / "zoo"), tmp_path / "a.bin"
    source.touch()
    os.truncate(source, shutil.disk_usage(tmp_path).total + (1 << 30))
    before = sorted(catalogue.root.rglob("*"))
    with pytest.raises(CkptError, match=r"a\.bin has \d+ bytes, but .* has space for \d+"):
        put(catalogue, source)
    assert sorted(catalogue.root.rglob("*")) == before


def test_a_file_that_differs_from_what_was_stored_is_named(tmp_path: Path) -> None:
    ckpttool.save({"w": np.arange(4.0)}, tmp_path / "a.safetensors")
    ckpttool.zoo_add(tmp_path / "a.safetensors", "a", root=tmp_path / "zoo")
    catalogue = Catalogue.open(tmp_path / "zoo")
    assert check(catalogue, [("a", 1)]).problems == []
    (file,) = catalogue.manifest("a", 1).files
    blob = catalogue.inside(catalogue.blob(file.sha256))
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"\1")
    (problem,) = check(catalogue, [("a", 1)]).problems
    assert (problem.entry, problem.what) == ("a@1", "a.safetensors")
    assert "differs from the bytes that were stored" in problem.problem
