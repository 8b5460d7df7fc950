"""Formats: the abilities of each checkpoint format, the names of its outputs, and what it cannot store."""

from collections.abc import Iterable, Mapping
from typing import Any

from ckpttool.formats import registry

COLUMNS = ("name", "can", "suffixes", "cannot_hold", "limits")


def format_rows(names: Iterable[str] | None = None) -> list[dict[str, Any]]:
    """Return `{"name", "can", "suffixes", "cannot_hold", "limits"}` of all formats, including those of other packages.

    Raises:
        CkptError: the package that adds a format cannot be loaded.
    """
    return [registry.get(name).describe() for name in (registry.names() if names is None else names)]


def as_texts(row: Mapping[str, Any]) -> dict[str, str]:
    """Return a row with each field as text.

    >>> as_texts({"name": "hdf5", "suffixes": [".h5", ".hdf5"]})
    {'name': 'hdf5', 'suffixes': '.h5, .hdf5'}
    """
    return {key: ", ".join(value) if isinstance(value, list) else value for key, value in row.items()}
