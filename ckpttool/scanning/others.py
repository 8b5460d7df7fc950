"""Bytes whose kind no name tells: texts act on nobody, pickles and graphs are what they are, the rest was not read."""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from ckpttool.scanning.arrays import MAGIC, array_findings
from ckpttool.scanning.finding import Finding, Unread
from ckpttool.scanning.graphs import hidden_findings
from ckpttool.scanning.pickles import pickle_findings

PROGRAMS = (
    *(".py", ".pyc", ".pyd", ".ipynb", ".sh", ".bash", ".bat", ".cmd", ".ps1", ".js", ".jar", ".lua", ".r"),
    *(".so", ".dll", ".dylib", ".exe", ".pl", ".rb"),
)
"""Suffixes of what is run."""
LARGEST = 1 << 28
"""Bytes in which a graph is looked for."""
_PIECE = 1 << 20
_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_PICKLE = re.compile(rb"\x80[\2-\5]|[(\])}]*c[\w.]+\n[\w.]+\n")
"""The first bytes of one, also of the oldest protocol, which is text: there the first thing is a name."""
_NUMBERS = re.compile(
    r"(.*/)?(data/\d+|\.data/serialization_id|\.(format_version|storage_alignment)|byteorder|version)"
)
"""Members of PyTorch's archives that are numbers, which a pickle beside them gives shapes."""


def findings_in(file: IO[bytes], path: Path, name: str, where: str = "") -> Iterator[Finding | Unread]:
    """Yield what is in a file, or in a member of one (`where` names it then), by its bytes.

    Raises:
        CorruptCheckpoint: a pickle in it is damaged.
    """
    file.seek(0)
    start = file.read(256)
    file.seek(0)
    said = f"{where}: " if where else ""
    if PurePosixPath(name).suffix.lower() in PROGRAMS or start.startswith((b"#!", b"\x7fELF", b"MZ")):
        yield Unread(path, f"{said}a program, or a part of one: ckpttool does not read it")
    elif _PICKLE.match(start):
        yield from pickle_findings(file, path, where)
    elif start.startswith(MAGIC):
        yield from array_findings(file, path, where)
    elif not is_text(file):
        file.seek(0)
        raw = file.read(LARGEST + 1)
        found = list(hidden_findings(raw, path, where or name)) if len(raw) <= LARGEST else []
        yield from found
        if not found:
            what = "a zip within a zip" if where and start.startswith(b"PK\3\4") else "of an unknown kind"
            yield Unread(path, f"{said}it is {what}, which was not scanned")


def is_text(file: IO[bytes]) -> bool:
    """Say whether all of a file is text, or nothing at all."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    file.seek(0)
    try:
        while piece := file.read(_PIECE):
            if _NO_TEXT.search(decoder.decode(piece)):
                return False
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def are_numbers(name: str, names: frozenset[str]) -> bool:
    """Say whether a member of an archive of PyTorch, which has these members, is numbers."""
    root, slash, _ = name.partition("/")
    return _NUMBERS.fullmatch(name) is not None and f"{root}{slash}data.pkl" in names
