"""HDF5 files that cause a reader much work, need much memory, or refer to other files."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from crafting import Case

HEAP = b"GCOL\1\0\0\0"
"""The signature of a global heap, which stores strings of variable length."""


def made(name: str, fill: Any, file_name: str = "x.h5", **options: Any) -> Case:
    """Return a case whose file is filled by a function."""

    def make(folder: Path) -> Path:
        with h5py.File(folder / file_name, "w", **options) as file:
            fill(file)
        return folder / file_name

    return Case(f"hdf5: {name}", make)


def diamonds(levels: int, soft: bool = False) -> Any:
    """Nested groups with two names each: the number of paths doubles with each level."""

    def fill(file: Any) -> None:
        group = file
        for level in range(levels):
            inner = group.create_group("a")
            group["b"] = h5py.SoftLink(f"/{'a/' * level}a") if soft else inner
            group = inner
        group["w"] = np.ones(2, np.float32)

    return fill


def soft_links(count: int) -> Any:
    """Many soft links in one group."""

    def fill(file: Any) -> None:
        file["w"] = np.ones(2, np.float32)
        for number in range(count):
            file[f"l{number}"] = h5py.SoftLink("/w")

    return fill


def soft_chain(levels: int) -> Any:
    """Soft links that each go twice through the next."""

    def fill(file: Any) -> None:
        for level in range(levels):
            file[f"s{level}"] = h5py.SoftLink(f"/s{level + 1}/s{level + 1}")
        file.create_group(f"s{levels}")[f"s{levels}"] = np.ones(2, np.float32)

    return fill


def long_soft(parts: int) -> Any:
    """Soft links with many parts, through a group that contains itself."""

    def fill(file: Any) -> None:
        group = file.create_group("g")
        group["a"] = h5py.SoftLink(".")
        group["w"] = np.ones(2, np.float32)
        for number in range(200):
            file[f"l{number}"] = h5py.SoftLink("/g/" + "a/" * parts + "w")

    return fill


def one_text_many_times(elements: int, length: int, dense: bool, on: str = "/") -> Any:
    """An attribute whose elements are all one long string: small in the file, large when read."""

    def fill(file: Any) -> None:
        file["w"] = np.ones(2, np.float32)
        kind = h5py.string_dtype()
        file[on].attrs.create("names", np.array(["x" * length] + [""] * (elements - 1), object), dtype=kind)
        file.flush()

    return fill


def repeated_text(folder: Path, elements: int, length: int, dataset: bool) -> Path:
    """Write such a file: each reference is replaced in the file by the first one."""
    path = folder / "x.h5"
    with h5py.File(path, "w", libver="latest") as file:
        values = np.array(["x" * length] + ["y" * 7] * (elements - 1), object)
        if dataset:
            file.create_dataset("names", data=values, dtype=h5py.string_dtype())
        else:
            file.attrs.create("names", values, dtype=h5py.string_dtype())
            file["w"] = np.ones(2, np.float32)
    data = bytearray(path.read_bytes())
    first = _reference(data, length)
    at, replaced = 0, 0
    small = (7).to_bytes(4, "little")
    while (at := data.find(small, at)) >= 0 and replaced < elements - 1:
        address = int.from_bytes(data[at + 4 : at + 12], "little")
        if data[address : address + 4] == b"GCOL":
            data[at : at + 16] = first
            replaced += 1
            at += 16
        else:
            at += 1
    path.write_bytes(bytes(data))
    return path


def _reference(data: bytearray, length: int) -> bytes:
    wanted, at = length.to_bytes(4, "little"), 0
    while (at := data.find(wanted, at)) >= 0:
        address = int.from_bytes(data[at + 4 : at + 12], "little")
        if data[address : address + 4] == b"GCOL":
            return bytes(data[at : at + 16])
        at += 1
    raise AssertionError("no reference there")


def large_chunk(nbytes: int, **options: Any) -> Any:
    """A dataset of four numbers in one chunk that has room for many."""

    def fill(file: Any) -> None:
        shape, chunks = (4,), (nbytes // 4,)
        space = file.create_dataset("w", shape, "f4", maxshape=(None,), chunks=chunks, **options)
        del space

    return fill


def stored_chunk(nbytes: int) -> Any:
    """The same with a chunk that exists, compressed."""

    def fill(file: Any) -> None:
        import zlib

        dataset = file.create_dataset("w", (4,), "f4", maxshape=(None,), chunks=(nbytes // 4,), compression="gzip")
        packer = zlib.compressobj(9)
        packed = b"".join(packer.compress(bytes(1 << 20)) for _ in range(nbytes >> 20)) + packer.flush()
        dataset.id.write_direct_chunk((0,), packed)

    return fill


def claims(shape: tuple[int, ...], **options: Any) -> Any:
    """A dataset with a large shape, none of which is stored."""

    def fill(file: Any) -> None:
        file.create_dataset("w", shape, "f4", **options)

    return fill


def many(count: int, what: str) -> Any:
    """Many groups, attributes or datasets."""

    def fill(file: Any) -> None:
        for number in range(count):
            if what == "groups":
                file.create_group(f"g{number}")
            elif what == "attributes":
                file.attrs[f"a{number}"] = number
            else:
                file[f"d{number}"] = np.float32(number)

    return fill


def deep(levels: int) -> Any:
    """Nested groups."""

    def fill(file: Any) -> None:
        group = file
        for _ in range(levels):
            group = group.create_group("g")
        group["w"] = np.ones(2, np.float32)

    return fill


def circle(file: Any) -> None:
    """A group that contains itself."""
    file.create_group("a")["b"] = file
    file["a/c"] = file["a"]


def external(file: Any) -> None:
    """A link to another file."""
    file["w"] = h5py.ExternalLink("/etc/hostname", "/x")


def storage(file: Any) -> None:
    """Values in another file."""
    file.create_dataset("w", (4,), "u1", external=[("/etc/hostname", 0, 4)])


def virtual(file: Any) -> None:
    """Values of a dataset in another file."""
    layout = h5py.VirtualLayout((3,), "f4")
    layout[:] = h5py.VirtualSource("/tmp/other.h5", "x", (3,))
    file.create_virtual_dataset("w", layout)


def odd_types(file: Any) -> None:
    """Elements that are not numbers."""
    file["refs"] = np.array([file.ref], h5py.ref_dtype)
    file.create_dataset("lists", (2,), h5py.vlen_dtype(np.float32))
    file["records"] = np.zeros(2, [("a", "f4"), ("b", "i8")])
    file["empty"] = h5py.Empty("f4")
    file["type"] = np.dtype("f8")
    file["enum"] = np.zeros(2, h5py.enum_dtype({"a": 0, "b": 1}, "i1"))


def with_text(folder: Path) -> tuple[Path, bytearray, int]:
    """Return a file with an attribute of variable length, its bytes, and the offset of the first object in its heap."""
    with h5py.File(folder / "x.h5", "w") as file:
        file["w"] = np.ones(2, np.float32)
        file.attrs["text"] = "of varying length"
    data = bytearray((folder / "x.h5").read_bytes())
    return folder / "x.h5", data, data.index(HEAP) + 16


def text_of_size(folder: Path, size: int) -> Path:
    """Write a file whose heap has a string so long that the next offset is before it."""
    path, data, first = with_text(folder)
    data[first + 8 : first + 16] = size.to_bytes(8, "little")
    path.write_bytes(data)
    return path


def heaps_within(folder: Path, count: int) -> Path:
    """Write a file with nested heaps, each in an object of the previous one, whose objects all are the same."""
    path, data, _ = with_text(folder)
    large, empty = (bytes([1, *[0] * 7, size, *[0] * 7]) for size in (32, 0))
    nested = [
        large + HEAP + max(4096, 48 * (count - number) - 32).to_bytes(8, "little") + empty for number in range(count)
    ]
    path.write_bytes(bytes(data) + b"".join(nested) + bytes(4096))
    return path


def cases() -> Iterator[Case]:
    """Yield the cases."""
    for levels in (8, 12, 20, 40, 60):
        yield made(f"{levels} diamonds of links", diamonds(levels))
        yield made(f"{levels} diamonds of soft links", diamonds(levels, soft=True))
    for count in (1000, 5000, 20_000):
        yield made(f"{count} soft links in a group", soft_links(count))
    for levels in (8, 20, 60, 100):
        yield made(f"soft links through soft links, {levels}", soft_chain(levels))
    for parts in (1000, 10_000, 30_000):
        yield made(f"soft links of {parts} parts", long_soft(parts))
    for elements, length in ((2000, 1 << 20), (60_000, 100_000), (200, 1 << 20), (1000, 60_000)):
        for dataset in (False, True):
            where = "a dataset" if dataset else "an attribute"
            yield Case(
                f"hdf5: {where} of {elements} times one text of {length}",
                partial(repeated_text, elements=elements, length=length, dataset=dataset),
            )
    for count in (1000, 40_000, 300_000):
        yield Case(f"hdf5: {count} heaps within heaps", partial(heaps_within, count=count))
    for size in (0, (1 << 64) - 1, (1 << 64) - 17, (1 << 64) - 4096):
        yield Case(f"hdf5: a text of {size} bytes in a heap", partial(text_of_size, size=size))
    for nbytes in (1 << 28, 1 << 30, (1 << 32) - 16):
        yield made(f"four numbers in a chunk of {nbytes}", large_chunk(nbytes))
        yield made(f"four numbers in a packed chunk of {nbytes}", large_chunk(nbytes, compression="gzip"))
    for nbytes in (1 << 27, 1 << 29, 1 << 30):
        yield made(f"a packed chunk of zeros, {nbytes}", stored_chunk(nbytes))
    for shape in ((1 << 40,), (1 << 20, 1 << 20, 1 << 10), (1 << 33,), (1,) * 32, (0, 1 << 40)):
        yield made(f"a dataset {list(shape)[:4]} of which nothing is stored", claims(shape))
        if all(shape):
            chunks = tuple(min(each, 16) for each in shape)
            yield made(f"a dataset {list(shape)[:4]} in chunks", claims(shape, chunks=chunks))
            yield made(f"a dataset {list(shape)[:4]} packed", claims(shape, chunks=chunks, compression="gzip"))
    for what in ("groups", "attributes", "datasets"):
        yield made(f"5000 {what}", many(5000, what), libver="latest")
    for levels in (30, 100, 1000):
        yield made(f"{levels} groups in one another", deep(levels))
    for fill in (circle, external, storage, virtual, odd_types):
        yield made(fill.__name__.replace("_", " "), fill)
        yield made(f"{fill.__name__.replace('_', ' ')} in weights of Keras", fill, "x.weights.h5")
