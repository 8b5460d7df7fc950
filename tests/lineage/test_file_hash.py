"""Hashes of files: in threads beside the reading for an output, and only of files that stay as they are."""

import hashlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.formats.writing.copying import CopiedTensor, Copier
from ckpttool.lineage import file_hash
from ckpttool.lineage.file_hash import FileHash, hash_of
from ckpttool.surgery.average import average


@pytest.fixture
def source(tmp_path: Path) -> Path:
    checkpoint.save({"a": np.arange(400_000.0), "b": np.ones(3, np.float32)}, tmp_path / "a.safetensors")
    return tmp_path / "a.safetensors"


def sha256(*paths: Path) -> str:
    return f"sha256:{hashlib.sha256(b''.join(path.read_bytes() for path in paths)).hexdigest()}"


def test_the_bytes_of_all_files_are_hashed_in_order(source: Path, tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"more")
    assert hash_of([source, tmp_path / "b"]) == sha256(source, tmp_path / "b") != hash_of([tmp_path / "b", source])


def test_a_file_that_changed_before_or_during_its_reading_is_an_error(source: Path) -> None:
    noted = FileHash([source])
    source.write_bytes(source.read_bytes() + b"more")
    with pytest.raises(CorruptCheckpoint, match=r"a\.safetensors changed while it was read"):
        noted.read()
    noted = FileHash([source])
    source.write_bytes(source.read_bytes()[:-9])
    with pytest.raises(CorruptCheckpoint, match=r"a\.safetensors changed while it was read"):
        noted.read()
    with pytest.raises(CorruptCheckpoint, match="changed while it was read"):
        FileHash([source]).read(lambda: source.write_bytes(source.read_bytes()))


def test_an_output_has_the_hash_of_what_was_read_whether_it_is_in_it_or_beside(source: Path, tmp_path: Path) -> None:
    for name in ("b.safetensors", "c.h5", "d.ckpt"):
        checkpoint.save(checkpoint.open(source), tmp_path / name)
        written = checkpoint.open(tmp_path / name)
        (record,) = written.provenance.files[0].chain.records
        assert record.sources[0].hash == sha256(source)
        assert np.array_equal(written["a"].read(), np.arange(400_000.0))


@pytest.mark.parametrize("output", ["b.safetensors", "b.ckpt"])
def test_a_source_that_changes_after_it_was_copied_but_before_it_was_hashed_leaves_no_output(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    copied, finish, read = threading.Event(), Copier.finish, FileHash.read

    def finish_and_change(copier: Copier) -> list[CopiedTensor]:
        done = finish(copier)
        source.write_bytes(source.read_bytes())
        copied.set()
        return done

    def read_later(noted: FileHash, require: Callable[[], object] = bool) -> str:
        copied.wait()
        return read(noted, require)

    monkeypatch.setattr(Copier, "finish", finish_and_change)
    monkeypatch.setattr(FileHash, "read", read_later)
    with pytest.raises(CorruptCheckpoint, match=r"a\.safetensors changed while it was read"):
        checkpoint.save(checkpoint.open(source), tmp_path / output)
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]


def test_hashing_ends_with_a_failure_of_the_writing_and_starts_anew_with_the_next(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_forever(_: FileHash, require: Callable[[], object] = bool) -> str:
        while True:
            require()

    opened, before = checkpoint.open(source), threading.active_count()
    with monkeypatch.context() as patched:
        patched.setattr(FileHash, "read", read_forever)
        patched.setattr(Copier, "add", lambda *_: os.fstat(-1))
        with pytest.raises(OSError, match="Bad file descriptor"):
            checkpoint.save(opened, tmp_path / "b.safetensors")
    assert threading.active_count() == before
    checkpoint.save(opened, tmp_path / "b.safetensors")
    (record,) = checkpoint.open(tmp_path / "b.safetensors").provenance.files[0].chain.records
    assert record.sources[0].hash == sha256(source)


def test_several_files_are_hashed_at_the_same_time(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both, read = threading.Barrier(2), FileHash.read

    def read_together(noted: FileHash, require: Callable[[], object] = bool) -> str:
        both.wait(60)
        return read(noted, require)

    monkeypatch.setattr(FileHash, "read", read_together)
    monkeypatch.setattr(file_hash, "cores", lambda: 2)
    shutil.copy(source, tmp_path / "b.safetensors")
    mean = average([checkpoint.open(source), checkpoint.open(tmp_path / "b.safetensors")])
    checkpoint.save(mean, tmp_path / "c.safetensors")
    (record,) = checkpoint.open(tmp_path / "c.safetensors").provenance.files[0].chain.records[-1:]
    assert [each.hash for each in record.sources] == [sha256(source)] * 2
