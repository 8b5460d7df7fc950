"""Pickles, ONNX models, pipes and patterns in rules that cause a reader much work."""

import io
import os
import struct
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from crafting import Case, file

PICKLES = {
    "call of system": b"cos\nsystem\n(S'true'\ntR.",
    "builtins eval": b"cbuiltins\neval\n(S'1'\ntR.",
    "doubling": b"]" + b"q\0" + b"(h\0h\0t" * 1 + b"".join(b"q%c(h%ch%ct" % (n + 1, n, n) for n in range(60)) + b".",
    "doubling tuples": b"(t" + b"".join(b"q%c0(h%ch%ct" % (n, n, n) for n in range(100)) + b".",
    "deep lists": b"]" * 100_000 + b"a" * 99_999 + b".",
    "deep tuples": b")" + b"\x85" * 1_000_000 + b".",
    "in itself": b"]q\0h\0a.",
    "long text claimed": b"\x8d" + struct.pack("<Q", 1 << 40) + b"x.",
    "long number claimed": b"\x8b" + struct.pack("<l", 1 << 30) + b"\1.",
    "many marks": b"(" * 5_000_000 + b".",
    "many empties": b"]" + b"(" + b"]" * 5_000_000 + b"e.",
    "memo of 2^31": b"]r" + struct.pack("<L", 1 << 31) + b".",
    "no stop": b"]",
    "nothing": b"",
    "stack empty": b"0.",
    "extension": b"\x82\1.",
    "persistent": b"S'x'\nQ.",
    "frame of 2^60": b"\x80\4\x95" + struct.pack("<Q", 1 << 60) + b"].",
    "protocol 9": b"\x80\x09].",
    "number of 5 MB": b"I" + b"9" * 5_000_000 + b"\n.",
    "dict of 2 million": b"}(" + b"".join(b"K%cK\1" % (n % 255) for n in range(2_000_000)) + b"u.",
}


def torch_zip(pickled: bytes, *others: tuple[str, bytes]) -> bytes:
    """Return a torch.save file with the given pickle."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as target:
        target.writestr("x/data.pkl", pickled)
        target.writestr("x/version", b"3\n")
        for name, content in others:
            target.writestr(name, content)
    return out.getvalue()


LEGACY = bytes.fromhex("800 28a0a6cfc9c46f9206aa850192e8002 4de9032e".replace(" ", ""))


def pipe(*names: str) -> Callable[[Path], Path]:
    """Return a maker of pipes in place of files."""

    def make(folder: Path) -> Path:
        for name in names:
            os.mkfifo(folder / name)
        return folder / names[0]

    return make


def shard_is(kind: str) -> Callable[[Path], Path]:
    """Return a maker of a bundle whose data file is a pipe, a device or a folder."""

    def make(folder: Path) -> Path:
        import samples

        samples.bundle(folder / "x.ckpt")
        shard = folder / "x.ckpt.data-00000-of-00001"
        shard.unlink()
        if kind == "pipe":
            os.mkfifo(shard)
        elif kind == "folder":
            shard.mkdir()
        else:
            shard.symlink_to(kind)
        return folder / "x.ckpt"

    return make


def onnx() -> Iterator[Case]:
    """Yield ONNX models with false sizes."""
    from ckpttool.formats.wire import varint

    def field(number: int, body: bytes) -> bytes:
        return varint.encode(number << 3 | 2) + varint.encode(len(body)) + body

    def number(at: int, value: int) -> bytes:
        return varint.encode(at << 3) + varint.encode(value)

    def model(tensor: bytes) -> bytes:
        return number(1, 8) + field(7, field(5, tensor))

    yield Case("onnx: deep", file("x.onnx", lambda: deep(20_000)))
    yield Case(
        "onnx: huge",
        file("x.onnx", lambda: model(number(1, 1 << 40) + number(2, 1) + field(8, b"w") + field(9, b"x"))),
    )
    yield Case(
        "onnx: negative", file("x.onnx", lambda: model(number(1, (1 << 64) - 1) + number(2, 1) + field(8, b"w")))
    )
    yield Case("onnx: cut off", file("x.onnx", lambda: model(b"\x0a\xff\xff\xff\x7f")))
    yield Case(
        "onnx: a million dims",
        file("x.onnx", lambda: model(number(1, 1) * 1_000_000 + number(2, 1) + field(8, b"w"))),
    )


def deep(levels: int) -> bytes:
    """Return nested graphs."""
    from ckpttool.formats.wire import varint

    body = b""
    for _ in range(levels):
        body = b"\x0a" + varint.encode(len(body)) + body
    return b"\x08\x08\x3a" + varint.encode(len(body)) + body


def cases() -> Iterator[Case]:
    """Yield the cases."""
    for name, pickled in PICKLES.items():
        yield Case(f"pickle: {name}", file("x.pt", partial(torch_zip, pickled)))
        yield Case(f"pickle: {name}, old", file("x.pth", LEGACY + pickled))
    for names in (
        ("x.npz",),
        ("x.index",),
        ("x.h5",),
        ("x.safetensors",),
        ("x.pt",),
        ("x.keras",),
        ("x",),
        ("checkpoint",),
    ):
        yield Case(f"pipe: {names[0]}", pipe(*names))
    for kind in ("pipe", "folder", "/dev/zero", "/dev/null", "/dev/tty"):
        yield Case(f"pipe: a bundle's data is {kind}", shard_is(kind))
    yield from onnx()
