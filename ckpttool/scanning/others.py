"""Files of unknown kind: text is harmless, pickles and graphs are recognised by content, anything else is unread."""

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
"""Suffixes of programs."""
LARGEST = 1 << 28
"""The maximum size in bytes of a file that is searched for a graph."""
_PIECE = 1 << 20
_NO_TEXT = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_PICKLE = re.compile(rb"\x80[\2-\5]|[(\])}]*c[\w.]+\n[\w.]+\n")
"""The start of a pickle; one of protocol 0, which is text, is recognised if it starts with a global name."""
_NUMBERS = re.compile(
    r"(.*/)?(data/\d+|\.data/serialization_id|\.(format_version|storage_alignment)|byteorder|version)"
)
"""Members of PyTorch archives that are raw numbers; the pickle beside them has their shapes."""


def findings_in(file: IO[bytes], path: Path, name: str, where: str = "") -> Iterator[Finding | Unread]:
    """Yield findings for a file, or for a member of one (named by `where`), whose kind follows from its content.

    Raises:
        CorruptCheckpoint: a pickle is damaged.
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
    """Return whether a file is empty or UTF-8 text without control characters."""
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
    """Return whether a member is raw numbers, given the names of all members of its archive."""
    root, slash, _ = name.partition("/")
    return _NUMBERS.fullmatch(name) is not None and f"{root}{slash}data.pkl" in names
