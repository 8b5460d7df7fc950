"""Fitting tables to the width of a terminal, without breaking numbers, headers or words.

Texts are wrapped at spaces first. If a table is still too wide, empty columns are omitted, names are shortened in the
middle, columns are omitted in a given order, and names are shortened further. If nothing fits, each row is printed as
a record, with a field per line.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

GAP = 2
"""Spaces between columns."""
ROOM = 24
"""Minimum width of a wrapped text, if it is as long."""
SHORT_NAME = 20
"""Minimum characters of a shortened name."""
KEPT = 2
"""Columns from the left that are never omitted, unless the table defines an order."""
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Column:
    """A column: the header, the cells, whether these are numbers, and whether they may be wrapped at spaces."""

    name: str
    cells: tuple[str, ...]
    is_number: bool = False
    wraps: bool = False

    @property
    def widest(self) -> int:
        """Its width with each cell in one line."""
        return max(map(_length, (self.name, *self.cells)))

    @property
    def least(self) -> int:
        """Its minimum width."""
        if not self.wraps:
            return self.widest
        words = max((_length(word) for text in (self.name, *self.cells) for word in text.split()), default=0)
        return max(words, min(self.widest, ROOM))

    def with_names_of(self, most: int) -> Self:
        """Return the column with words shortened to a number of characters; numbers are unchanged."""
        if self.is_number:
            return self
        return replace(self, cells=tuple(_WORD.sub(lambda word: shortened(word[0], most), text) for text in self.cells))


@dataclass(frozen=True)
class Fitted:
    """Columns that fit, their widths in characters, and the names of omitted columns."""

    columns: Sequence[Column]
    widths: Sequence[int]
    left_out: Sequence[str] = ()


def fitted(columns: Sequence[Column], width: int, order: Sequence[str] | None = None) -> Fitted | None:
    """Return the columns that fit into `width` characters, or None if no table fits.

    Args:
        columns: All columns.
        width: Characters per line.
        order: The columns that may be omitted, in this order; by default from the right, except the two on the left.

    >>> names = Column("name", ("bert/encoder/layer_11/attention/self/query/kernel",))
    >>> found = fitted([names, Column("shape", ("[768, 768]",)), Column("kind", ("weight",))], 44)
    >>> found.columns[0].cells, found.widths, found.left_out
    (('bert/encode...uery/kernel',), [26, 10], ['kind'])
    """
    whole = _with_widths(columns, width)
    if whole is not None:
        return whole
    columns = [column for column in columns if any(column.cells)]
    least_shown = [column.name for column in columns[KEPT:]][::-1] if order is None else order
    for most in (max(SHORT_NAME, width * 6 // 10), max(SHORT_NAME, width * 3 // 10)):
        shorter = [column.with_names_of(most) for column in columns]
        for count in range(len(least_shown) + 1):
            left_out = least_shown[:count]
            found = _with_widths([each for each in shorter if each.name not in left_out], width)
            if found is not None:
                return replace(found, left_out=[each.name for each in columns if each.name in left_out])
    return None


def records(columns: Sequence[Column], width: int) -> Iterator[list[tuple[str, str]]]:
    """Yield each row as pairs of header and cell, with words shortened to the space beside the headers."""
    room = max(SHORT_NAME, width - GAP - max((_length(column.name) for column in columns), default=0))
    shorter = [column.with_names_of(room) for column in columns]
    for texts in zip(*(column.cells for column in shorter), strict=True):
        yield [(column.name, text) for column, text in zip(columns, texts, strict=True) if text]


def shortened(word: str, most: int) -> str:
    """Return a word, shortened in the middle if it is longer than `most` characters.

    >>> shortened("bert/embeddings/word_embeddings", 20), shortened("fc/kernel", 20)
    ('bert/embe...beddings', 'fc/kernel')
    """
    if len(word) <= most:
        return word
    behind = (most - 3) // 2
    return f"{word[: most - 3 - behind]}...{word[-behind:]}"


def _with_widths(columns: Sequence[Column], width: int) -> Fitted | None:
    """Return the columns with widths, if they fit, else None; spare width is given to wrapped columns."""
    widths = [column.least for column in columns]
    left = width - sum(widths) - GAP * (len(columns) - 1)
    if left < 0:
        return None
    wanting = [place for place, column in enumerate(columns) if column.widest > widths[place]]
    for number, place in enumerate(sorted(wanting, key=lambda each: columns[each].widest)):
        more = min(columns[place].widest - widths[place], left // (len(wanting) - number))
        widths[place], left = widths[place] + more, left - more
    return Fitted(columns, widths)


def _length(text: str) -> int:
    """Return the width of a text on a terminal, in cells."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def columns_of(names: Sequence[str], rows: Iterable[Sequence[object]], texts: Iterable[Sequence[str]]) -> list[Column]:
    """Return columns of the cells `texts`; the values in `rows` tell which are numbers, and which may be wrapped."""
    values, shown = list(zip(*rows, strict=True)), list(zip(*texts, strict=True))
    found = []
    for place, name in enumerate(names):
        own = [each for each in (values[place] if values else ()) if each is not None]
        is_number = bool(own) and all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in own)
        whole = is_number or any(isinstance(each, (list, tuple)) and not _are_names(each) for each in own)
        found.append(Column(name, shown[place] if shown else (), is_number, not whole))
    return found


def _are_names(value: Sequence[object]) -> bool:
    return bool(value) and all(isinstance(each, str) for each in value)
