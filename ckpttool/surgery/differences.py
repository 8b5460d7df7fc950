"""A difference between two checkpoints, told: as rows, as a document, in a line."""

from dataclasses import asdict
from typing import Any

from ckpttool.surgery.diff import Diff


def document(found: Diff) -> dict[str, Any]:
    """Return the fields for JSON."""
    changed = [asdict(change) for change in found.changed]
    return {
        "only_a": list(found.only_a),
        "only_b": list(found.only_b),
        "changed": changed,
        "same": list(found.same),
    }


def rows(found: Diff) -> list[dict[str, Any]]:
    """Return a row to a tensor that differs.

    >>> rows(Diff(("old",), (), (), ("bias",)))
    [{'name': 'old', 'difference': 'only in A'}]
    """
    only = [(name, "only in A") for name in found.only_a] + [(name, "only in B") for name in found.only_b]
    changed = [
        {"name": item.name, "difference": item.why, "max_abs": item.max_abs, "relative": item.relative}
        for item in found.changed
    ]
    return [{"name": name, "difference": what} for name, what in only] + changed


def summary(found: Diff) -> str:
    """Return the counts in a line."""
    counts = [
        (found.same, "same"),
        (found.changed, "changed"),
        (found.only_a, "only in A"),
        (found.only_b, "only in B"),
    ]
    return ", ".join(f"{len(items)} {what}" for items, what in counts if items) or "both are empty"
