"""Listing the entries of the catalogue, by name and facts."""

import fnmatch
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ckpttool.core.pattern_cost import compiled
from ckpttool.zoo.filters import chosen
from ckpttool.zoo.index import Index
from ckpttool.zoo.mirrors import to_look_at


def zoo_list(
    names: Iterable[str] = (),
    exclude: str | None = None,
    filters: Iterable[str] = (),
    sort: Sequence[str] = (),
    every: bool = False,
    root: Path | None = None,
) -> list[dict[str, Any]]:
    """Return a row for each entry, or for `every` revision, whose name matches one of `names`: `resnet*`.

    Raises:
        MissingFile: there is no catalogue.
        CkptError: `exclude` is not a regular expression, or a filter or order is invalid.
    """
    wanted, unwanted = [name.casefold() for name in names], exclude and compiled(exclude)
    with Index.of(to_look_at(root)) as index:
        rows = index.rows(latest=not every)
    rows = [row for row in rows if not wanted or any(fnmatch.fnmatchcase(row["name"].casefold(), w) for w in wanted)]
    rows = [row for row in rows if not (unwanted and unwanted.search(row["name"]))]
    return [dict(row) for row in chosen(rows, filters, sort)]
