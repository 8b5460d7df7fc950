"""Bundles, tables and state files that claim more than exists, or cause a reader much work."""

import importlib.util
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from crafting import Case

from ckpttool.formats.wire import crc, varint
from ckpttool.formats.wire.protos.bundle_pb2 import BundleEntryProto, BundleHeaderProto
from ckpttool.formats.wire.protos.graph_pb2 import VersionDef
from ckpttool.formats.wire.table_writer import BlockBuilder, TableWriter

HEADER = bytes.fromhex("08011a020801")
SCALAR = BundleEntryProto(dtype="DT_FLOAT", size=4, crc32c=crc.mask(crc.extend(0, bytes(4))))
SCALAR.shape.SetInParent()


@cache
def tests() -> Any:
    """Return the test module that makes bundles with one defect each."""
    place = Path(__file__).parents[1] / "tests" / "formats" / "crafted.py"
    spec = importlib.util.spec_from_file_location("crafted_of_tests", place)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def table(
    folder: Path, write: Callable[[TableWriter], None], block_size: int = 1 << 18, header: bytes = HEADER
) -> Path:
    """Write a bundle whose index is filled by a function."""
    with (folder / "x.index").open("wb") as file:
        writer = TableWriter(file, block_size)
        writer.add(b"", header)
        write(writer)
        writer.finish()
    (folder / "x.data-00000-of-00001").write_bytes(bytes(64))
    return folder / "x"


def long_keys(length: int, count: int) -> Case:
    """Keys that share all but their ends: each takes a byte in the index and thousands of bytes in a reader."""

    def body() -> bytes:
        value = SCALAR.SerializeToString()
        entries = [
            tests().raw_entry(0, 0, len(HEADER), HEADER),
            tests().raw_entry(0, length, len(value), b"k" * length + value),
        ]
        for number in range(count):
            rest = number.to_bytes(4, "big")
            entries.append(tests().raw_entry(length, len(rest), len(value), rest + value))
        return bytes(tests().with_restarts(b"".join(entries), 0))

    return Case(
        f"bundle: {count} keys that share {length} bytes", lambda folder: tests().write(folder, tests().table(body()))
    )


def scalars(count: int) -> Case:
    """As many entries as a large model has, all of the same bytes."""

    def write(writer: TableWriter) -> None:
        body = SCALAR.SerializeToString()
        for number in range(count):
            writer.add(b"%07d" % number, body)

    return Case(f"bundle: {count} scalars on the same bytes", lambda folder: table(folder, write))


def empties(count: int) -> Case:
    """Entries of tensors without elements."""
    proto = BundleEntryProto(dtype="DT_FLOAT")
    proto.shape.dim.add(size=0)

    def write(writer: TableWriter) -> None:
        for number in range(count):
            writer.add(b"%07d" % number, proto.SerializeToString())

    return Case(f"bundle: {count} tensors without elements", lambda folder: table(folder, write))


def slices(count: int, empty: bool) -> Case:
    """A tensor in very many slices, none of which exists."""
    part = b"\x3a\0" if empty else b"\x3a\4\x0a\2\x08\1"

    def write(writer: TableWriter) -> None:
        writer.add(b"w", SCALAR.SerializeToString() + part * count)

    kind = "empty " if empty else ""
    return Case(f"bundle: {count} {kind}slices", lambda folder: table(folder, write))


def dims(count: int) -> Case:
    """A shape with very many dimensions."""

    def write(writer: TableWriter) -> None:
        shape = b"\x12\2\x08\1" * count
        body = b"\x08\1\x12" + varint.encode(len(shape)) + shape + b"\x28\4"
        writer.add(b"w", body)

    return Case(f"bundle: {count} dimensions", lambda folder: table(folder, write))


def state(name: str, text: bytes) -> Case:
    """A folder whose file named `checkpoint` has this content."""

    def make(folder: Path) -> Path:
        (folder / "checkpoint").write_bytes(text)
        table(folder, lambda writer: writer.add(b"w", SCALAR.SerializeToString()))
        return folder

    return Case(f"state file: {name}", make)


def one_block(name: str, body: bytes) -> Case:
    """An index of one block with these bytes."""
    return Case(f"bundle: {name}", lambda folder: tests().write(folder, tests().table(body)))


def restarts(count: int) -> bytes:
    """Return a block with very many restart points."""
    builder = BlockBuilder(1)
    for number in range(count):
        builder.add(b"%06d" % number if number else b"", HEADER if not number else SCALAR.SerializeToString())
    return builder.finish()


def of_tests(name: str, index: Callable[[], bytes]) -> Case:
    """Return one of the tests' cases."""
    return Case(f"bundle: {name}", lambda folder: tests().write(folder, index()))


def absent_shards(count: int, entries: int) -> Case:
    """An index that declares very many data files, of which one exists."""
    header = BundleHeaderProto(num_shards=count, version=VersionDef(producer=1)).SerializeToString()
    body = BundleEntryProto(dtype="DT_FLOAT", size=4, shard_id=1)
    body.shape.SetInParent()

    def write(writer: TableWriter) -> None:
        for number in range(entries):
            writer.add(b"%07d" % number, body.SerializeToString())

    return Case(f"bundle: {count} shards, {entries} entries", lambda folder: table(folder, write, header=header))


def cases() -> Iterator[Case]:
    """Yield the cases."""
    for case in tests().CASES:
        yield of_tests(case.name, case.index)
    for length, count in ((1000, 10_000), (10_000, 10_000), (100_000, 10_000), (100_000, 2000), (250_000, 20_000)):
        yield long_keys(length, count)
    for count in (10_000, 100_000, 300_000):
        yield scalars(count)
        yield empties(count)
    for count in (1000, 100_000, 1_000_000, 8_000_000):
        yield slices(count, empty=True)
        yield slices(count, empty=False)
    for count in (255, 10_000, 1_000_000, 4_000_000):
        yield dims(count)
    for count, entries in ((2, 30_000), (1000, 1000), (2**31 - 1, 1), (2**31 - 1, 30_000)):
        yield absent_shards(count, entries)
    yield one_block("50000 restart points", restarts(50_000))
    line = b'all_model_checkpoint_paths: "x"\n'
    for count in (1000, 300_000, 3_000_000):
        yield state(f"{count} lines", b'model_checkpoint_path: "x"\n' + line * count)
        yield state(f"{count} lines before the first", line * count + b'model_checkpoint_path: "x"\n')
    for count in (100, 50_000, 1_000_000):
        yield state(f"{count} levels", b'model_checkpoint_path: "x"\n' + b"a {\n" * count + b"}\n" * count)
        yield state(f"{count} levels without an end", b"a<" * count)
    yield state("no lines", b"")
    yield state("a path out of the folder", b'model_checkpoint_path: "../../etc/passwd"\n')
    yield state("an absolute path", b'model_checkpoint_path: "/etc/passwd"\n')
    yield state("a path of 1 MB", b'model_checkpoint_path: "' + b"x" * (1 << 20) + b'"\n')
    yield state("a path with a zero", b'model_checkpoint_path: "x\\000y"\n')
    yield state("other bytes", bytes(range(256)) * 100)
