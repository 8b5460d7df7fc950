"""A difference between two checkpoints, told: as rows, as a document, in a line."""

from dataclasses import asdict
from typing import Any

from ckpttool.core.names import listed
from ckpttool.surgery.diff import Change, Diff

COLUMNS = ("name", "difference", "max_abs", "relative", "relative_l2", "cosine")
LAYER_COLUMNS = ("name", "difference", "relative_l2", "tensors", "changed")
SHOWN = 3
"""Layers that the summary names."""


def document(found: Diff) -> dict[str, Any]:
    """Return the fields for JSON."""
    return {
        "only_a": list(found.only_a),
        "only_b": list(found.only_b),
        "changed": [
            asdict(change) | {"relative_l2": change.relative_l2, "kind": found.kinds.get(change.name)}
            for change in found.changed
        ],
        "same": list(found.same),
        "layers": layer_rows(found),
    }


def rows(found: Diff) -> list[dict[str, Any]]:
    """Return a row to a tensor that differs: weights first, then slots and step counters.

    >>> rows(Diff(("old",), (), (), ("bias",), {"old": "weight"}))
    [{'name': 'old', 'difference': 'only in A', 'kind': 'weight'}]
    """
    only = [(name, "only in A") for name in found.only_a] + [(name, "only in B") for name in found.only_b]
    told: list[dict[str, Any]] = [{"name": name, "difference": what} for name, what in only]
    told += [_row(change) for change in found.changed]
    known = [row | {"kind": found.kinds.get(row["name"])} for row in told]
    return sorted(known, key=lambda row: row["kind"] != "weight")


def layer_rows(found: Diff) -> list[dict[str, Any]]:
    """Return a row to a layer, those that moved most first."""
    return [asdict(layer) for layer in found.layers]


def summary(found: Diff) -> str:
    """Return the counts in a line."""
    counts = [
        (found.same, "same"),
        (found.changed, "changed"),
        (found.only_a, "only in A"),
        (found.only_b, "only in B"),
    ]
    return ", ".join(f"{len(items)} {what}" for items, what in counts if items) or "both are empty"


def ranking(found: Diff) -> list[str]:
    """Return a line with the layers that moved most, and one with those that did not; none where none moved."""
    moved = [f"{layer.name} {layer.relative_l2:.3g}" for layer in found.layers if layer.difference == "moved"]
    still = [layer.name for layer in found.layers if layer.difference == "unchanged"]
    lines = {"moved most": moved, "unchanged layers": still} if moved else {}
    return [f"{what}: {listed(items, SHOWN)}" for what, items in lines.items() if items]


def _row(change: Change) -> dict[str, Any]:
    troubles = {
        "NaN": change.nan,
        "infinite": change.inf,
        "dead rows": change.dead_rows,
        "dead columns": change.dead_columns,
    }
    return {
        "name": change.name,
        "difference": ", ".join([change.why, *(f"{count} {what}" for what, count in troubles.items() if count)]),
        "max_abs": change.max_abs,
        "relative": change.relative,
        "relative_l2": change.relative_l2,
        "cosine": change.cosine,
    }
