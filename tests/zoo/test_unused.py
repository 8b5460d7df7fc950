"""An addition that fails removes the blobs that it stored, unless an entry has them or another one may."""

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ckpttool.catalogue.layout import Catalogue
from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.verbs.zoo_add import zoo_add
from ckpttool.verbs.zoo_pull import zoo_pull
from ckpttool.zoo import catalogues, store
from ckpttool.zoo.blobs import at_work
from ckpttool.zoo.hashing import TensorHashes

Weights = Callable[..., Path]
MODEL = Path(__file__).parents[2] / "fixtures" / "my_model_final.ckpt"


def blobs(root: Path) -> list[str]:
    return sorted(path.name for path in root.glob("blobs/sha256/*/*"))


def damaged(_hashes: TensorHashes) -> Any:
    raise CorruptCheckpoint("x is damaged")


def test_what_a_failed_addition_stored_is_removed(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TensorHashes, "digests", damaged)
    with pytest.raises(CorruptCheckpoint, match="x is damaged"):
        zoo_add(MODEL, "digits")
    assert blobs(own) == []


def test_what_an_entry_has_stays(own: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo_add(weights("a.npz", x=1), "one")
    before = blobs(own)
    monkeypatch.setattr(TensorHashes, "digests", damaged)
    with pytest.raises(CorruptCheckpoint):
        zoo_add(weights("a.npz", x=1), "other")
    assert blobs(own) == before
    assert len(before) == 1


def test_what_another_addition_may_need_stays(own: Path, weights: Weights, monkeypatch: pytest.MonkeyPatch) -> None:
    path = weights("a.npz", x=1)
    monkeypatch.setattr(TensorHashes, "digests", damaged)
    with at_work(Catalogue.begun(own)), pytest.raises(CorruptCheckpoint):
        zoo_add(path, "one")
    assert len(blobs(own)) == 1, "`zoo gc` removes it when nothing is added any more"


def test_a_pull_that_fails_between_two_files(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zoo_add(MODEL, "digits", root=tmp_path / "theirs")
    put, stored = store.put, list[str]()

    def full(catalogue: Catalogue, source: Path, *more: Any) -> tuple[str, int]:
        if len(stored) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        stored.append(put(catalogue, source, *more)[0])
        return stored[-1], source.stat().st_size

    monkeypatch.setattr(catalogues, "put", full)
    with pytest.raises(OSError, match="No space left"):
        zoo_pull(str(tmp_path / "theirs"), "digits")
    assert (len(stored), blobs(own)) == (2, [])
