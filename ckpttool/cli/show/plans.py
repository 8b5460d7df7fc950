"""Showing a plan: what a command does to each variable, before it does it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ckpttool.cli.show.output import rows, say
from ckpttool.model.plan import Planned, PlanRow, Writing

COLUMNS = ("layer", "variable", "shape", "value", "then")


def show_plan(plan: Sequence[PlanRow], as_json: bool = False) -> None:
    """Print a plan as a table, TSV or JSON."""
    rows([row.as_json() for row in plan] if as_json else map(_cells, plan), COLUMNS, as_json)


def carry_out(planned: Planned, output: Path, overwrite: bool, plan_only: bool, as_json: bool) -> None:
    """Show a plan and, unless that is all that was asked for, write what it says and say that it was done."""
    carry_out_shown(planned, output, overwrite, plan_only, lambda: show_plan(planned.rows, as_json))


def carry_out_shown(planned: Writing, output: Path, overwrite: bool, plan_only: bool, show: Callable[[], None]) -> None:
    """Carry out a plan that has a way of its own to be shown."""
    if not plan_only:
        planned.check(output, overwrite)
    show()
    for note in planned.notes:
        say(note)
    if not plan_only:
        planned.write(output, overwrite)
        say(f"{output}: written and read back, {planned.done}")


def _cells(row: PlanRow) -> dict[str, Any]:
    source = "fresh" if row.source is None else f"restored from {row.source}"
    then = "trained" if row.train else "frozen"
    return {"layer": row.layer, "variable": row.target, "shape": row.shape, "value": source, "then": then}
