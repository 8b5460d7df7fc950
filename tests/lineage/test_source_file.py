"""Source files: what a file brings along of its own lineage."""

from pathlib import Path

import numpy as np
import pytest

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.formats.format import Writing
from ckpttool.lineage.file_hash import HashThreads
from ckpttool.lineage.records import PATCH
from ckpttool.lineage.source_file import SourceFile
from ckpttool.lineage.storage import lineage_of, text_of
from ckpttool.verbs.apply_patch import make_patch


@pytest.fixture
def patch(tmp_path: Path) -> Path:
    checkpoint.save({"w": np.ones(3)}, tmp_path / "a.npz")
    checkpoint.save(checkpoint.open(tmp_path / "a.npz").cast("float32"), tmp_path / "b.npz")
    make_patch(tmp_path / "a.npz", tmp_path / "b.npz", output=tmp_path / "delta")
    return tmp_path / "delta"


def test_a_patch_has_the_lineage_that_it_contains_and_no_layouts(patch: Path, tmp_path: Path) -> None:
    inside = lineage_of(tmp_path / "b.npz", {})
    source = SourceFile.of_patch(patch, text_of(inside))
    assert source.chain == inside != SourceFile.of_patch(patch, "").chain
    assert (source.named.format, source.has_layouts, source.is_graph) == (PATCH, False, False)
    assert source.source.hash


def test_a_patch_without_a_lineage_has_an_empty_one(patch: Path) -> None:
    source = SourceFile.of_patch(patch, "")
    assert (source.chain.records, source.framework) == ((), None)


def test_what_its_name_determines_is_hashed_by_its_name_alone() -> None:
    source = SourceFile.of_named_graph(Path("keras:MobileNetV2"))
    named = source.source.hash
    with HashThreads() as threads:
        source.hash_in(threads)
        threads.wait()
    assert source.source.hash == named


def test_a_source_of_several_files_that_is_replaced_before_the_output_is_written_has_changed(tmp_path: Path) -> None:
    path, output = tmp_path / "s.safetensors", tmp_path / "copy.npz"
    values = {name: np.ones(90, np.float32) for name in "abc"}
    checkpoint.save(values, path, how=Writing(shard_bytes=400))
    opened = checkpoint.open(path)
    checkpoint.save(values, path, overwrite=True, how=Writing(shard_bytes=800))  # files of other names
    with pytest.raises(CorruptCheckpoint, match=r"s\.safetensors changed while it was read: .* is not the file"):
        checkpoint.save(opened, output)
    assert not output.exists()


@pytest.mark.parametrize("name", ["a.safetensors", "a.npz", "a"])
def test_the_hash_of_a_file_that_replaced_the_one_that_was_opened_is_not_its(tmp_path: Path, name: str) -> None:
    checkpoint.save({"w": np.zeros(4, np.float32)}, tmp_path / name)
    opened = checkpoint.open(tmp_path / name)
    again = checkpoint.open(tmp_path / name)
    (tmp_path / "link").hardlink_to(next(tmp_path.iterdir()))
    checkpoint.save(opened, tmp_path / "first.npz")
    checkpoint.save({"w": np.ones(4, np.float32)}, tmp_path / name, overwrite=True)
    with pytest.raises(CorruptCheckpoint, match=r"changed while it was read: .* is not the file that was opened"):
        checkpoint.save(again, tmp_path / "second.npz")
    assert not (tmp_path / "second.npz").exists()
    checkpoint.save(opened, tmp_path / "third.npz")  # its hash was known before
    first, third = (lineage_of(tmp_path / each, {}).records[-1].sources for each in ("first.npz", "third.npz"))
    assert first == third
