"""A difference between two checkpoints as rows, as a JSON document, and in one line."""

from dataclasses import asdict
from typing import Any

from ckpttool.core.names import listed
from ckpttool.surgery.diff import Diff, TensorChange

COLUMNS = ("name", "difference", "max_abs", "relative", "relative_l2", "cosine")
LAYER_COLUMNS = ("name", "difference", "relative_l2", "tensors", "changed")
SHOWN = 3
"""The maximum number of layers in the summary."""


def document(diff: Diff) -> dict[str, Any]:
    """Return the fields as JSON values."""
    return {
        "only_a": list(diff.only_a),
        "only_b": list(diff.only_b),
        "changed": [
            asdict(change) | {"relative_l2": change.relative_l2, "kind": diff.kinds.get(change.name)}
            for change in diff.changed
        ],
        "same": list(diff.same),
        "layers": layer_rows(diff),
    }


def rows(diff: Diff) -> list[dict[str, Any]]:
    """Return a row per tensor that differs: weights first, then slots and step counters.

    >>> rows(Diff(("old",), (), (), ("bias",), {"old": "weight"}))
    [{'name': 'old', 'difference': 'only in A', 'kind': 'weight'}]
    """
    only = [(name, "only in A") for name in diff.only_a] + [(name, "only in B") for name in diff.only_b]
    rows: list[dict[str, Any]] = [{"name": name, "difference": what} for name, what in only]
    rows += [_row(change) for change in diff.changed]
    with_kinds = [row | {"kind": diff.kinds.get(row["name"])} for row in rows]
    return sorted(with_kinds, key=lambda row: row["kind"] != "weight")


def layer_rows(diff: Diff) -> list[dict[str, Any]]:
    """Return a row per layer, those that moved most first."""
    return [asdict(layer) for layer in diff.layers]


def summary(diff: Diff) -> str:
    """Return the counts in one line."""
    counts = [
        (diff.same, "same"),
        (diff.changed, "changed"),
        (diff.only_a, "only in A"),
        (diff.only_b, "only in B"),
    ]
    return ", ".join(f"{len(items)} {what}" for items, what in counts if items) or "both are empty"


def ranking(diff: Diff) -> list[str]:
    """Return a line with the layers that moved most, and one with those that did not; empty if none moved."""
    moved = [f"{layer.name} {layer.relative_l2:.3g}" for layer in diff.layers if layer.difference == "moved"]
    still = [layer.name for layer in diff.layers if layer.difference == "unchanged"]
    lines = {"moved most": moved, "unchanged layers": still} if moved else {}
    return [f"{what}: {listed(items, SHOWN)}" for what, items in lines.items() if items]


def _row(change: TensorChange) -> dict[str, Any]:
    problems = {
        "NaN": change.nan,
        "infinite": change.inf,
        "dead rows": change.dead_rows,
        "dead columns": change.dead_columns,
    }
    return {
        "name": change.name,
        "difference": ", ".join([change.why, *(f"{count} {what}" for what, count in problems.items() if count)]),
        "max_abs": change.max_abs,
        "relative": change.relative,
        "relative_l2": change.relative_l2,
        "cosine": change.cosine,
    }
