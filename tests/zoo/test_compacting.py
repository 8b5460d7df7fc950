"""Compacting: layers that models share are stored once, and every model is read as before."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.placing import path_of
from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.verbs.zoo_add import zoo_add
from ckpttool.verbs.zoo_compact import zoo_compact
from ckpttool.verbs.zoo_gc import zoo_gc
from ckpttool.verbs.zoo_remove import zoo_remove
from ckpttool.verbs.zoo_verify import zoo_verify

Tuned = Callable[[str, int], Path]


@pytest.fixture
def tuned(tmp_path: Path) -> Tuned:
    """A model of four layers, the lower two of which are its base's."""

    def write(suffix: str, number: int) -> Path:
        rng, own = np.random.default_rng(0), np.random.default_rng(number)
        values = {f"frozen{each}/kernel": rng.random((100, 100), np.float32) for each in (1, 2)}
        values |= {f"tuned{each}/kernel": own.random((100, 100), np.float32) for each in (1, 2)}
        path = tmp_path / f"tuned{number}{suffix}"
        checkpoint.save(values, path)
        return path

    return write


@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_ten_variants_of_one_model_need_little_more_than_half(own: Path, tuned: Tuned, suffix: str) -> None:
    hashes = {}
    for number in range(1, 11):
        manifest = zoo_add(tuned(suffix, number), f"tuned{number}")
        hashes[manifest.name] = {file.path: file.sha256 for file in manifest.files}
    found = zoo_compact()
    assert (found.files, found.after < 0.6 * found.before) == (10, True)
    stored = sum(path.stat().st_size for path in (own / "blobs").rglob("*") if path.is_file())
    assert stored < 0.6 * found.before
    for name, files in hashes.items():
        assert {path: sha256_of(path_of(f"zoo:{name}").parent / path) for path in files} == files
    np.testing.assert_array_equal(
        checkpoint.open("zoo:tuned3")["tuned2/kernel"].read(),
        checkpoint.open(own.parent / f"tuned3{suffix}")["tuned2/kernel"].read(),
    )


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_compacting_again_changes_nothing_and_clears_what_was_put_together(own: Path, tuned: Tuned) -> None:
    for number in (1, 2):
        zoo_add(tuned(".safetensors", number), f"tuned{number}")
    first = zoo_compact()
    path_of("zoo:tuned1")
    again = zoo_compact()
    assert (again.files, again.after) == (0, first.after)
    assert again.before > first.after
    assert list((own / "by-name").rglob("*.safetensors")) == []


def test_a_later_variant_shares_what_was_cut_before(tuned: Tuned) -> None:
    for number in (1, 2):
        zoo_add(tuned(".safetensors", number), f"tuned{number}")
    zoo_compact()
    zoo_add(tuned(".safetensors", 3), "tuned3")
    found = zoo_compact()
    assert found.files == 1
    assert 70_000 < found.before - found.after < 90_000
    assert zoo_verify().problems == []


def test_pieces_are_collected_with_the_last_file_that_needs_them(own: Path, tuned: Tuned) -> None:
    manifests = [zoo_add(tuned(".safetensors", number), f"tuned{number}") for number in (1, 2)]
    zoo_compact()
    assert zoo_gc().blobs == []
    zoo_remove("tuned1")
    zoo_gc()
    assert zoo_verify().problems == []
    assert zoo_add(own.parent / "tuned2.safetensors", "again").files == manifests[1].files
    zoo_remove("tuned2")
    zoo_remove("again")
    zoo_gc()
    assert [path for path in (own / "blobs").rglob("*") if path.is_file()] == []


def test_a_missing_or_damaged_piece_is_said(own: Path, tuned: Tuned) -> None:
    for number in (1, 2):
        manifest = zoo_add(tuned(".safetensors", number), f"tuned{number}")
    zoo_compact()
    (row,) = [row for row in manifest.tensors if row["name"] == "frozen1/kernel"]
    piece = Catalogue.open(own).blob(row["sha256"])
    piece.chmod(0o644)
    piece.write_bytes(piece.read_bytes()[:-1] + b"x")
    with pytest.raises(CorruptCheckpoint, match=r"tuned1.safetensors: its pieces differ from the bytes"):
        path_of("zoo:tuned1")
    assert {each.entry for each in zoo_verify().problems} == {"tuned1@1", "tuned2@1"}
    piece.unlink()
    with pytest.raises(CorruptCheckpoint, match=r"tuned1.safetensors are missing"):
        path_of("zoo:tuned1")
