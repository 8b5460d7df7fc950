"""Showing a plan: what a command does to each variable, before it does it."""

from collections.abc import Sequence
from typing import Any

from ckpttool.cli import output
from ckpttool.transfer.plan import PlanRow

COLUMNS = ("layer", "variable", "shape", "value", "then")


def show_plan(plan: Sequence[PlanRow], as_json: bool = False) -> None:
    """Print a plan as a table, TSV or JSON."""
    output.rows([row.as_json() for row in plan] if as_json else map(_cells, plan), COLUMNS, as_json)


def _cells(row: PlanRow) -> dict[str, Any]:
    source = "fresh" if row.source is None else f"restored from {row.source}"
    then = "trained" if row.train else "frozen"
    return {"layer": row.layer, "variable": row.target, "shape": row.shape, "value": source, "then": then}
