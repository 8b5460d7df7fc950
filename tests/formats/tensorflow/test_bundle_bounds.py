"""Indexes and state files in which few bytes cause much work: rejected, or read only as far as needed."""

import time

import pytest
from crafted import HEADER, bundle, entry, raw_entry, table, with_restarts, write

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError, CorruptCheckpoint, MissingFile
from ckpttool.core.tensors import Tensor
from ckpttool.formats.tensorflow import bundle as bundles
from ckpttool.formats.tensorflow.folder import latest_checkpoint
from ckpttool.formats.tensorflow.prefix import prefix_of, recorded_checkpoint


def test_keys_that_share_very_much(tmp_path):
    value = entry(shape=(), size=4)
    parts = [raw_entry(0, 0, len(HEADER), HEADER), raw_entry(0, 50_000, len(value), b"k" * 50_000 + value)]
    parts += [raw_entry(50_000, 4, len(value), number.to_bytes(4, "big") + value) for number in range(2000)]
    path = write(tmp_path, table(with_restarts(b"".join(parts), 0)))
    with pytest.raises(
        CorruptCheckpoint, match=r"its keys, with their shared prefixes, have over 8 times its .* bytes"
    ):
        checkpoint.open(path)


def test_an_index_that_is_larger_than_its_data(tmp_path, monkeypatch):
    monkeypatch.setattr(bundles, "SMALL_INDEX", 300)
    checkpoint.save({f"{number:03}": Tensor.of("", [0.0]) for number in range(20)}, tmp_path / "x.ckpt")
    with pytest.raises(CorruptCheckpoint, match=r"x\.ckpt\.index has \d+ bytes, but its data files have 160"):
        checkpoint.open(tmp_path / "x.ckpt")
    checkpoint.save({f"{number:03}": Tensor.of("", [0.0] * 9) for number in range(20)}, tmp_path / "y.ckpt")
    assert len(checkpoint.open(tmp_path / "y.ckpt")) == 20


def test_an_index_of_more_shards_than_there_are_files(tmp_path):
    path = write(tmp_path, bundle((b"t", entry(shard=5)), header=MANY_SHARDS))
    start = time.process_time()
    opened = checkpoint.open(path)
    with pytest.raises(MissingFile, match=r"data-00005-of-2147483647"):
        opened["t"].read()
    assert time.process_time() - start < 3


def test_many_tensors_of_a_missing_shard(tmp_path):
    tensors = [(b"%05d" % number, entry(shard=1, offset=20 * number)) for number in range(20_000)]
    path = write(tmp_path, bundle(*tensors, header=HEADER.replace(b"\x08\x01", b"\x08\x02", 1)))
    start = time.process_time()
    checked = list(bundles.Bundle().verify(path))
    assert len(checked) == 20_000
    assert all("data-00001-of-00002" in each.problem for each in checked)
    assert time.process_time() - start < 10


@pytest.fixture
def folder(tmp_path):
    checkpoint.save({"w": Tensor.of("w", [1.0])}, tmp_path / "x")
    return tmp_path


MANY_SHARDS = bytes.fromhex("08ffffffff071a020801")
"""A header that declares 2147483647 data files."""
LINE = b'all_model_checkpoint_paths: "x"\n'


def test_a_state_file_of_very_many_lines(folder):
    (folder / "checkpoint").write_bytes(b'model_checkpoint_path: "x"\n' + 300_000 * LINE)
    start = time.process_time()
    assert recorded_checkpoint(folder) == prefix_of(folder) == latest_checkpoint(folder, print) == folder / "x"
    assert time.process_time() - start < 3


@pytest.mark.parametrize(
    "text", [300_000 * LINE, b"a {\n" * 50_000, b"a<" * 50_000, b'model_checkpoint_path: "x"\n' + b"a {\n" * 50_000]
)
def test_a_state_file_that_says_nothing_at_length(folder, text):
    (folder / "checkpoint").write_bytes(text)
    start = time.process_time()
    with pytest.raises(CkptError) as refused:
        recorded_checkpoint(folder)
    assert len(str(refused.value)) < 1000
    assert time.process_time() - start < 3
