"""Zips with hidden, false or repeated members: .npz, .keras and .pt; explosive JSON, pickles and headers."""

import io
import json
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import samples
from crafting import Case, file

MEMBER = "model.weights.h5"


def changed(name: str, make: Callable[[Path], None], change: Callable[[bytearray], None]) -> Case:
    """Return a case of a good file with changed bytes."""

    def build(folder: Path) -> Path:
        path = folder / name
        make(path)
        data = bytearray(path.read_bytes())
        change(data)
        path.write_bytes(bytes(data))
        return path

    return Case(name, build)


def set_at(mark: bytes, offset: int, kind: str, value: int, last: bool = False) -> Callable[[bytearray], None]:
    """Return a function that writes a number at an offset from a mark."""

    def change(data: bytearray) -> None:
        at = data.rindex(mark) if last else data.index(mark)
        struct.pack_into(kind, data, at + offset, value)

    return change


FIELDS = {
    "central": (
        b"PK\1\2",
        [
            ("flags", 8, "<H", (1, 8, 0x800)),
            ("packing", 10, "<H", (8, 9, 12, 14, 99)),
            ("time", 12, "<H", (1,)),
            ("checksum", 16, "<L", (0, 1)),
            ("packed size", 20, "<L", (0, 1, 0xFFFFFFF0, 0xFFFFFFFF)),
            ("size", 24, "<L", (0, 1, 0xFFFFFFF0, 0xFFFFFFFF)),
            ("name length", 28, "<H", (0, 1, 0xFFFF)),
            ("extra length", 30, "<H", (1, 0xFFFF)),
            ("comment length", 32, "<H", (1, 0xFFFF)),
            ("disk", 34, "<H", (1,)),
            ("offset", 42, "<L", (1, 0x7FFFFFFF, 0xFFFFFFFF)),
        ],
    ),
    "local": (
        b"PK\3\4",
        [
            ("flags", 6, "<H", (1, 8, 0x800)),
            ("packing", 8, "<H", (8, 99)),
            ("checksum", 14, "<L", (1,)),
            ("packed size", 18, "<L", (1, 0xFFFFFFFF)),
            ("size", 22, "<L", (1, 0xFFFFFFFF)),
            ("name length", 26, "<H", (0, 1, 0xFFFF)),
            ("extra length", 28, "<H", (1, 0xFFFF)),
        ],
    ),
    "end": (
        b"PK\5\6",
        [
            ("disk", 4, "<H", (1,)),
            ("count here", 8, "<H", (0, 1, 0xFFFF)),
            ("count", 10, "<H", (0, 1, 0xFFFF)),
            ("size", 12, "<L", (0, 1, 0xFFFFFFFF)),
            ("start", 16, "<L", (0, 1, 0xFFFFFFFF)),
            ("comment", 20, "<H", (1, 0xFFFF)),
        ],
    ),
}


def fields() -> Iterator[Case]:
    """Yield every field of a zip with impossible values."""
    for name in ("x.npz", "x.keras", "x.pt"):
        for part, (mark, numbers) in FIELDS.items():
            for label, offset, kind, values in numbers:
                for value in values:
                    change = set_at(mark, offset, kind, value, last=part == "end")
                    case, make, _ = changed(name, samples.WITH_CHECKSUMS[name], change)
                    yield Case(f"zip: {case}, {part} {label} {value:#x}", make)


def archive(*members: tuple[str, bytes], packing: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", packing) as target:
        for name, content in members:
            target.writestr(name, content)
    return out.getvalue()


def npy(header: str, size: int = 8, version: bytes = b"\1\0") -> bytes:
    """Return an array with the given header."""
    text = header.encode()
    length = struct.pack("<H", len(text)) if version == b"\1\0" else struct.pack("<L", len(text))
    return b"\x93NUMPY" + version + length + text + bytes(size)


HEADERS = {
    "negative length": "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,)}\n",
    "huge shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,)}\n",
    "overflow": "{'descr': '<f4', 'fortran_order': False, 'shape': (4611686018427387904, 4611686018427387904)}\n",
    "objects": "{'descr': '|O', 'fortran_order': False, 'shape': (2,)}\n",
    "records": "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,)}\n",
    "wide text": "{'descr': '|S1000000000', 'fortran_order': False, 'shape': (0,)}\n",
    "no width": "{'descr': '|S0', 'fortran_order': False, 'shape': (100000000000,)}\n",
    "void": "{'descr': '|V4', 'fortran_order': False, 'shape': (2,)}\n",
    "call": "{'descr': __import__('os').system('true'), 'fortran_order': False, 'shape': (2,)}\n",
    "deep": "(" * 5000 + ")" * 5000 + "\n",
    "deep minus": "{'shape': " + "-" * 9000 + "1}\n",
    "many lengths": "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "1, " * 2000 + ")}\n",
    "bool shape": "{'descr': '<f4', 'fortran_order': False, 'shape': (True, True)}\n",
    "text shape": "{'descr': '<f4', 'fortran_order': False, 'shape': ('2',)}\n",
    "big number": "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "9" * 5000 + ",)}\n",
    "zero byte": "{'descr': '<f4',\0'fortran_order': False, 'shape': (2,)}\n",
    "subarray": "{'descr': ('<f4', (1000000,)), 'fortran_order': False, 'shape': (0,)}\n",
}


def arrays() -> Iterator[Case]:
    """Yield .npz files whose arrays have unusual headers, and other members."""
    for name, header in HEADERS.items():
        yield Case(f"npy: {name}", file("x.npz", partial(archive, ("a.npy", npy(header)))))
        yield Case(f"npy: {name}, version 2", file("x.npz", partial(archive, ("a.npy", npy(header, 8, b"\2\0")))))
    good = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}\n")
    yield Case("npz: two of one name", file("x.npz", lambda: archive(("a.npy", good), ("a.npy", good))))
    yield Case("npz: a path out", file("x.npz", lambda: archive(("../../a.npy", good))))
    yield Case(
        "npz: 20000 members", file("x.npz", lambda: archive(*((f"{number}.npy", good) for number in range(20_000))))
    )
    yield Case("npz: two archives", file("x.npz", lambda: archive(("a.npy", good)) + archive(("b.npy", good))))
    yield Case("npz: bytes behind", file("x.npz", lambda: archive(("a.npy", good)) + b"hello"))
    yield Case("npz: bytes in front", file("x.npz", lambda: b"hello" + archive(("a.npy", good))))
    yield Case("npz: a quine's members on one another", file("x.npz", overlapping))
    zeros = npy("{'descr': '<f4', 'fortran_order': False, 'shape': (268435456,)}\n", 0)
    packed = lambda: archive(("a.npy", zeros + bytes(1 << 30)), packing=zipfile.ZIP_DEFLATED)  # noqa: E731
    yield Case("npz: 1 GiB of zeros in 1 MB", file("x.npz", packed))


def overlapping() -> bytes:
    """Return an archive with a thousand entries for one member: a short form of Fifield's bomb."""
    data = bytearray(archive(*((f"{number:04}.npy", bytes(100)) for number in range(1000))))
    first = data.index(b"PK\1\2")
    at = first
    for _ in range(1000):
        struct.pack_into("<L", data, at + 42, 0)
        at += 46 + sum(struct.unpack_from("<3H", data, at + 28))
    return bytes(data)


JSON = {
    "numbers": b"[" + b"1," * 30_000_000 + b"1]",
    "objects": b"[" + b"{}," * 20_000_000 + b"{}]",
    "keys": b"{" + b",".join(b'"%d":0' % number for number in range(2_000_000)) + b"}",
    "lists in lists": b"[" * 10_000_000,
    "objects in objects": b'{"a":' * 5_000_000,
    "a long text": b'"' + b"x" * 60_000_000 + b'"',
    "a long number": b"1" * 5_000_000,
    "one key many times": b"{" + b'"a":0,' * 3_000_000 + b'"a":0}',
    "escapes": b'"' + b"\\u0041" * 8_000_000 + b'"',
    "other bytes": b"\xff" * 1000,
}


def json_everywhere() -> Iterator[Case]:
    """Yield each text in each place where JSON is read."""
    for name, text in JSON.items():
        members = ("metadata.json", b"{}"), ("config.json", text), (MEMBER, samples.hdf5_bytes())
        packed = partial(archive, *members, packing=zipfile.ZIP_DEFLATED)
        yield Case(f"json: {name}, in a .keras", file("x.keras", packed))
        tensors = struct.pack("<Q", len(text)) + text + bytes(64)
        yield Case(f"json: {name}, in a .safetensors", file("x.safetensors", tensors))
        yield Case(f"json: {name}, in an index of safetensors", file("model.safetensors.index.json", text))
        wrapped = b'{"weight_map": ' + text + b"}"
        yield Case(f"json: {name}, in a map of weights", file("x.weights.json", wrapped))
        yield Case(f"json: {name}, in an index of .bin", file("pytorch_model.bin.index.json", wrapped))


def headers() -> Iterator[Case]:
    """Yield safetensors with false headers."""

    def case(name: str, header: object, data: int = 64) -> Case:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return Case(
            f"safetensors: {name}", file("x.safetensors", lambda: struct.pack("<Q", len(text)) + text + bytes(data))
        )

    def tensor(**changes: object) -> dict[str, object]:
        return {"w": {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]} | changes}

    yield case("good", tensor())
    yield case("unknown dtype", tensor(dtype="X9"))
    yield case("negative shape", tensor(shape=[-16]))
    yield case("huge shape", tensor(shape=[1 << 60]))
    yield case("fractions", tensor(shape=[16.0]))
    yield case("offsets beyond", tensor(data_offsets=[0, 1 << 40]))
    yield case("offsets the wrong way", tensor(data_offsets=[64, 0]))
    yield case("three offsets", tensor(data_offsets=[0, 32, 64]))
    yield case("no offsets", {"w": {"dtype": "F32", "shape": [16]}})
    yield case("texts for offsets", tensor(data_offsets=["0", "64"]))
    yield case("a gap", {"a": {"dtype": "F32", "shape": [4], "data_offsets": [16, 32]}})
    yield case("bytes left", tensor(), 128)
    yield case("two on one another", tensor() | {"v": tensor()["w"]})
    yield case("metadata of numbers", tensor() | {"__metadata__": {"a": 1}})
    yield case("metadata is a list", tensor() | {"__metadata__": []})
    yield case(
        "twice",
        b'{"w":{"dtype":"F32","shape":[16],"data_offsets":[0,64]},"w":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}',
    )
    yield case("spaces in front", b"  " + json.dumps(tensor()).encode())
    yield case("no object", b"[]")
    yield case("nothing", b"")
    yield case("many dimensions", tensor(shape=[1] * 100_000))
    yield case(
        "60000 tensors without elements",
        {f"t{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(60_000)},
        0,
    )
    yield Case("safetensors: header of 2^62", file("x.safetensors", lambda: struct.pack("<Q", 1 << 62) + b"{}"))
    yield Case(
        "safetensors: header of 99 MB",
        file("x.safetensors", lambda: struct.pack("<Q", 99_000_000) + b" " * 99_000_000),
    )


def cases() -> Iterator[Case]:
    """Yield the cases."""
    yield from fields()
    yield from arrays()
    yield from json_everywhere()
    yield from headers()
