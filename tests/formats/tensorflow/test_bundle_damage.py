"""Damaged and malicious bundles: each is found, none is read in part, and memory stays bounded."""

import resource

import numpy as np
import pytest
from conformance import save_as, tensors_of
from crafted import CASES, DATA, built, bundle, entry, first_entry, rows, snappy_bundle, table, with_restarts, write

from ckpttool import checkpoint
from ckpttool.core.errors import CorruptCheckpoint, FormatError
from ckpttool.core.tensors import Tensor
from ckpttool.formats.tensorflow.bundle import Bundle
from ckpttool.formats.wire.table_writer import TableWriter
from ckpttool.surgery.diff import diff


def problems(prefix):
    """Return the problems of a bundle; any error except ckpttool's fails the test."""
    try:
        return [item.problem for item in Bundle().verify(prefix) if item.problem]
    except FormatError as error:
        return [str(error)]


@pytest.fixture(params=["floats", "strings", "sliced", "variant"])
def small(request, tmp_path):
    """One small bundle for each way in which bytes are checked."""
    prefix = tmp_path / "x"
    if request.param == "floats":
        Bundle().save(tensors_of(t=np.arange(5, dtype=np.float32), flag=np.array([True])), prefix)
    elif request.param == "strings":
        Bundle().save(tensors_of(s=np.array([b"hello", b"", b"x" * 30], object)), prefix)
    else:
        name = {"sliced": "partitioned.ckpt", "variant": "variant.ckpt"}[request.param]
        for path in (request.config.rootpath / "fixtures" / "bundles").glob(f"{name}.*"):
            (tmp_path / path.name.replace(name, "x")).write_bytes(path.read_bytes())
    assert problems(prefix) == []
    return prefix


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_every_flipped_bit_is_found(small, suffix):
    path = small.parent / f"x{suffix}"
    whole = bytearray(path.read_bytes())
    for at in range(len(whole)):
        for bit in range(8):
            whole[at] ^= 1 << bit
            path.write_bytes(whole)
            assert problems(small), f"bit {bit} of byte {at}"
            whole[at] ^= 1 << bit


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_every_cut_names_the_file(small, suffix):
    path = small.parent / f"x{suffix}"
    whole = path.read_bytes()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        assert str(path) in problems(small)[0]


def test_bytes_after_the_end_of_an_index_are_found(small):
    path = small.parent / "x.index"
    path.write_bytes(path.read_bytes() + b"\0")
    assert problems(small)


def test_a_flip_in_any_block_of_an_index_never_gives_part_of_the_list(tmp_path):
    names = [f"layer{i:04}/kernel".encode() for i in range(400)]
    with (tmp_path / "x.index").open("wb") as file:
        writer = TableWriter(file, block_size=2048)
        for key, value in rows(*((name, entry()) for name in names)):
            writer.add(key, value)
        writer.finish()
    (tmp_path / "x.data-00000-of-00001").write_bytes(DATA)
    path = tmp_path / "x.index"
    whole = path.read_bytes()
    assert list(Bundle().open(tmp_path / "x")) == [name.decode() for name in names]
    flips = range(0, len(whole) - 48, 997)
    assert len(whole) > 4 * 2048
    for at in flips:
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with pytest.raises(CorruptCheckpoint, match=r"x\.index"):
            checkpoint.open(tmp_path / "x")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name.replace(" ", "-"))
def test_crafted_bundles(tmp_path, case):
    prefix = write(tmp_path, case.index())
    found = problems(prefix)
    assert found
    assert case.says in found[0]
    assert "\n" not in found[0]
    assert str(tmp_path / "x") in found[0] or "shares bytes" in found[0]


def test_what_the_crafted_ones_are_made_from_is_right(tmp_path):
    assert problems(write(tmp_path, bundle((b"t", entry())))) == []
    assert Bundle().open(tmp_path / "x")["t"].read().tobytes() == DATA[:20]


def test_snappy_blocks_are_read(tmp_path):
    assert problems(write(tmp_path, snappy_bundle((b"t", entry()), (b"t2", entry(offset=20))))) == []
    assert list(Bundle().open(tmp_path / "x")) == ["t", "t2"]


def test_a_block_may_have_no_restart_points(tmp_path):
    assert problems(write(tmp_path, table(with_restarts(first_entry())))) == []


def test_no_memory_is_set_aside_for_what_is_not_there(tmp_path):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for case in CASES:
        problems(write(tmp_path, case.index()))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_data_of_another_save_beside_the_index(tmp_path):
    for name, value in {"a": 1.0, "b": 2.0}.items():
        Bundle().save(tensors_of(t=np.full(4, value), same=np.ones(4)), tmp_path / name)
    (tmp_path / "b.data-00000-of-00001").replace(tmp_path / "a.data-00000-of-00001")
    damaged = [item.name for item in Bundle().verify(tmp_path / "a") if item.problem]
    assert damaged == ["t"]


def test_a_git_lfs_pointer_is_told_from_damage(tmp_path):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"
    (tmp_path / "x.index").write_text(pointer)
    with pytest.raises(CorruptCheckpoint, match="git lfs pull"):
        checkpoint.open(tmp_path / "x")


def test_a_file_that_shrinks_while_it_is_read(tmp_path):
    Bundle().save(tensors_of(t=np.zeros(3 << 20, np.uint8), u=np.zeros(9 << 20, np.uint8)), tmp_path / "x")
    pieces = Bundle().open(tmp_path / "x")["u"].pieces()
    next(pieces)
    with (tmp_path / "x.data-00000-of-00001").open("r+b") as file:
        file.truncate(4 << 20)
    with pytest.raises(CorruptCheckpoint, match="truncated, before or while it was read"):
        list(pieces)


def test_a_bundle_that_is_replaced_while_it_is_read_stays_the_old_one(tmp_path):
    Bundle().save(tensors_of(t=np.array([1.0]), u=np.array([1.0])), tmp_path / "x")
    opened = Bundle().open(tmp_path / "x")
    assert opened["t"].read().tolist() == [1.0]
    save_as(Bundle(), tensors_of(t=np.array([2.0]), u=np.array([2.0])), tmp_path / "x", True)
    assert opened["u"].read().tolist() == [1.0]
    assert Bundle().open(tmp_path / "x")["u"].read().tolist() == [2.0]


def test_a_bundle_that_is_replaced_before_it_is_read_gives_what_it_was(tmp_path):
    Bundle().save(tensors_of(t=np.array([1.0])), tmp_path / "x")
    opened = Bundle().open(tmp_path / "x")
    save_as(Bundle(), tensors_of(t=np.array([2.0])), tmp_path / "x", True)
    assert opened["t"].read().tolist() == [1.0]


def test_damage_is_not_copied_by_a_verb(tmp_path):
    Bundle().save(tensors_of(t=np.arange(9.0)), tmp_path / "x")
    data = tmp_path / "x.data-00000-of-00001"
    data.write_bytes(b"\1" + data.read_bytes()[1:])
    with pytest.raises(CorruptCheckpoint, match="t is damaged"):
        checkpoint.save(checkpoint.open(tmp_path / "x"), tmp_path / "y")
    assert not list(tmp_path.glob("y*")) + list(tmp_path.glob(".*"))
    with pytest.raises(CorruptCheckpoint, match="t is damaged"):
        diff(checkpoint.open(tmp_path / "x"), {"t": Tensor.of("t", np.arange(9.0))})


def test_a_hundred_thousand_slices_are_checked_quickly(tmp_path):
    from ckpttool.formats.tensorflow.slices import Box, require_cover

    boxes = [Box((i % 300, i // 300), (1, 1)) for i in range(90_000)]
    require_cover(boxes, (300, 300))
    with pytest.raises(ValueError, match="overlap"):
        require_cover([*boxes[:-1], boxes[0]], (300, 300))


def test_built_blocks_have_what_was_put_in():
    from ckpttool.formats.wire.table import decode_block

    pairs = [(f"k{i:03}".encode(), b"v" * i) for i in range(200)]
    assert decode_block(built(pairs)) == pairs
