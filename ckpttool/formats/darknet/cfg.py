"""Darknet's `.cfg`: sections of options, one per layer after the first (darknet/src/parser.c)."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ckpttool.core.errors import CorruptCheckpoint
from ckpttool.remote import sparse_files

LIMIT = 1 << 20
"""The maximum size of a `.cfg` in bytes."""
LARGEST = 1 << 31
"""Numbers of this magnitude or more are rejected."""
SHORT = {"conv": "convolutional", "conn": "connected", "max": "maxpool", "avg": "avgpool"}
_NUMBER = re.compile(r"\s*([+-]?\d+)")


@dataclass
class Section:
    """A section of the file: a layer, except for the first; `number` is the layer's index as Darknet prints it."""

    path: Path
    kind: str
    number: int
    options: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.path}: layer {self.number}, [{self.kind}],"

    def integer(self, key: str, default: int) -> int:
        """Return an option as an integer.

        Raises:
            CorruptCheckpoint: it is no number, or too large.
        """
        if key not in self.options:
            return default
        return self.integers(key)[0]

    def integers(self, key: str) -> list[int]:
        """Return an option as a list of integers, empty if the option is missing; for errors see `integer`."""
        found = []
        for text in self.options[key].split(",") if self.options.get(key) else ():
            number = _NUMBER.match(text)
            if number is None or len(number[1]) > 11 or abs(int(number[1])) >= LARGEST:
                raise CorruptCheckpoint(f"{self} has {key}={text.strip()[:40]}, expected a number")
            found.append(int(number[1]))
        if key in self.options and not found:
            raise CorruptCheckpoint(f"{self} has {key}= without a number")
        return found

    def positive(self, key: str, default: int) -> int:
        """Return an option as a positive integer; for errors see `integer`."""
        number = self.integer(key, default)
        if number < 1:
            raise CorruptCheckpoint(f"{self} has {key}={number}, expected a number of at least 1")
        return number


def sections(path: Path) -> Iterator[Section]:
    """Yield the sections of a file.

    Raises:
        CorruptCheckpoint: it is larger than `LIMIT`.
    """
    with sparse_files.opened(path) as file:
        raw = file.read(LIMIT + 1)
    if len(raw) > LIMIT:
        raise CorruptCheckpoint(f"{path}: the file is over {LIMIT >> 20} MB, the limit for a .cfg")
    section, count = None, -1
    for line in raw.decode("utf-8", "replace").splitlines():
        text = "".join(line.split())
        if not text or text[0] in "#;":
            continue
        if text[0] == "[":
            if section:
                yield section
            kind = text[1:].partition("]")[0]
            section, count = Section(path, SHORT.get(kind, kind), count), count + 1
        elif section and "=" in text:
            key, _, value = text.partition("=")
            section.options.setdefault(key, value)
    if section:
        yield section
