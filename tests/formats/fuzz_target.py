"""Targets of fuzzing: a part of a file, a function that makes a file from any bytes for it, and one that reads it."""

import io
import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError
from ckpttool.formats.wire import checked_json
from ckpttool.surgery.verify import verify
from ckpttool.verbs.scan import scan

ARRAY = np.arange(6, dtype=np.float32).reshape(2, 3)


class Target(NamedTuple):
    """A part of a file: its valid bytes, a function that makes a file from any, and one that reads it."""

    seed: bytes
    make: Callable[[Path, bytes], Path]
    read: Callable[[Path], object]


def one_file(name: str, wrap: Callable[[bytes], bytes] = bytes) -> Callable[[Path, bytes], Path]:
    def make(folder: Path, part: bytes) -> Path:
        (folder / name).write_bytes(wrap(part))
        return folder / name

    return make


def zipped(name: str, *others: tuple[str, bytes]) -> Callable[[bytes], bytes]:
    def wrap(part: bytes) -> bytes:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as target:
            for member, content in ((name, part), *others):
                target.writestr(member, content)
        return out.getvalue()

    return wrap


def hdf5() -> bytes:
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        file["layers/dense/vars/0"], file["layers/dense/vars/1"] = ARRAY, np.ones(3, np.float32)
        file.attrs["names"] = ["a", "bcd"]
        file.create_dataset("packed", data=ARRAY, compression="gzip", chunks=(1, 3))
        file["text"] = ["a", "b"]
    return out.getvalue()


def checked(data: bytes) -> bytes:
    """Repair the checksum of JSON."""
    try:
        facts = json.loads(data)
        return checked_json.dumps({key: facts[key] for key in facts if key != checked_json.CHECKSUM})
    except (ValueError, TypeError, LookupError, RecursionError, UnicodeError):
        return data


def read_checkpoint(path: Path) -> None:
    for tensor in checkpoint.open(path).values():
        if tensor.nbytes < 1 << 24:
            tensor.read()
    verify(path)


def each(path: Path, readers: Iterable[Callable[[Path], object]]) -> None:
    """Read a file in several ways: what one rejects another may accept."""
    for read in readers:
        try:
            read(path)
        except (CkptError, OSError):
            continue


def scanned(*readers: Callable[[Path], object]) -> Callable[[Path], None]:
    """Return a function that reads a file in some ways, and scans it, as others' files are."""
    return lambda path: each(path, (*readers, lambda path: scan([path])))
