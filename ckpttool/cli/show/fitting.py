"""What of a table fits into so many characters: nothing is broken inside a number, a header or a word.

A table that is too wide has texts wrapped at spaces. If that is not enough, columns without a text go, names lack their
middle, and columns are left out, in an order that is theirs; at last names become shorter still. What does not fit then
is no table: each row becomes a record, with a field to a line.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

GAP = 2
"""Spaces between two columns."""
ROOM = 24
"""Characters that a text which is wrapped has at least, where it is so long."""
SHORT_NAME = 20
"""Characters that are left of a name at least."""
KEPT = 2
"""Columns from the left that are never left out, where a table has no order of its own for that."""
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Column:
    """A column: its header, its cells, whether these are numbers, and whether they may be wrapped at their spaces."""

    name: str
    cells: tuple[str, ...]
    is_number: bool = False
    wraps: bool = False

    @property
    def widest(self) -> int:
        """How wide it is with each cell in one line."""
        return max(map(_length, (self.name, *self.cells)))

    @property
    def least(self) -> int:
        """How wide it has to be."""
        if not self.wraps:
            return self.widest
        words = max((_length(word) for text in (self.name, *self.cells) for word in text.split()), default=0)
        return max(words, min(self.widest, ROOM))

    def with_names_of(self, most: int) -> Self:
        """Return the column with words of so many characters at most; a number stays as it is."""
        if self.is_number:
            return self
        return replace(self, cells=tuple(_WORD.sub(lambda word: shortened(word[0], most), text) for text in self.cells))


@dataclass(frozen=True)
class Fitted:
    """Columns that fit, how wide each is, and the names of those that are left out."""

    columns: Sequence[Column]
    widths: Sequence[int]
    left_out: Sequence[str] = ()


def fitted(columns: Sequence[Column], width: int, order: Sequence[str] | None = None) -> Fitted | None:
    """Return what fits into `width` characters; None where no table does.

    Args:
        columns: All that there is to show.
        width: Characters of a line.
        order: The columns that may be left out, the first to go first. Without it those from the right, but the two
            on the left.

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
    """Yield each row as headers and cells, of which no word is longer than what is left beside the headers."""
    room = max(SHORT_NAME, width - GAP - max((_length(column.name) for column in columns), default=0))
    shorter = [column.with_names_of(room) for column in columns]
    for texts in zip(*(column.cells for column in shorter), strict=True):
        yield [(column.name, text) for column, text in zip(columns, texts, strict=True) if text]


def shortened(word: str, most: int) -> str:
    """Return a word without its middle where it is longer than `most` characters.

    >>> shortened("bert/embeddings/word_embeddings", 20), shortened("fc/kernel", 20)
    ('bert/embe...beddings', 'fc/kernel')
    """
    if len(word) <= most:
        return word
    behind = (most - 3) // 2
    return f"{word[: most - 3 - behind]}...{word[-behind:]}"


def _with_widths(columns: Sequence[Column], width: int) -> Fitted | None:
    """Return the columns with widths, if they fit as they are; what is left over goes to those that are wrapped."""
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
    """Return how many places of a terminal a text takes."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len

    return cell_len(text)


def columns_of(names: Sequence[str], rows: Iterable[Sequence[object]], texts: Iterable[Sequence[str]]) -> list[Column]:
    """Return columns with the cells `texts`; the values of rows say which are numbers, and which may be wrapped."""
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
