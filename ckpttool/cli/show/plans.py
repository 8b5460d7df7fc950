"""Plans: shown, then executed, with a message about what was written."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ckpttool.cli.options.general import GIVEN, VERBOSE
from ckpttool.cli.show.tables import print_report, print_rows, say
from ckpttool.core.notes import Note

if TYPE_CHECKING:
    from ckpttool.lineage.provenance import Command
    from ckpttool.model.plan import Plan, PlanRow, Row

LEFT_OUT = ("dtype", "shape", "layer", "edits")
"""Columns that a table which is too wide omits, in this order; what happens to a variable is always shown."""


def execute(
    plan: "Plan",
    output: Path | None,
    overwrite: bool = False,
    plan_only: bool = False,
    as_json: bool = False,
    with_table: bool = True,
) -> None:
    """Show a plan, and unless only the plan is requested, write its output and report it.

    Notes on what will be lost are printed before anything is written. Without `with_table`, rows are only printed for
    `--plan` and `--json`. A name that the output cannot have is refused for `--plan` too, but not one that exists.
    """
    destination = None if plan_only else output
    if output is not None:
        plan.check(output, overwrite or plan_only)
    if with_table or plan_only or as_json:
        _show(plan.as_json() if as_json else [_cells(row) for row in plan.rows], as_json)
    show_notes(plan.notes)
    if destination is not None:
        for notice in plan.write(destination, overwrite, command_line()) or ():
            say(notice)
        say(f"{destination}: {plan.done}")


def show_notes(notes: Sequence[str]) -> None:
    """Print notes, a line each; with `--verbose` all the lines that a note summarises."""
    context = click.get_current_context(silent=True)
    verbose = context.meta.get(VERBOSE) if context else None
    for note in notes:
        if not isinstance(note, Note) or verbose is None or not (verbose or note.shortened):
            say(note)
        elif verbose:
            for line in note.lines:
                say(line)
        else:
            say(f"{note} (-v names all {len(note.lines)})")


def command_line() -> "Command | None":
    """Return the running command as it was typed, for the lineage of its output."""
    given: Command | None = click.get_current_context().find_root().meta.get(GIVEN)
    return given


def show_plan(plan: Sequence["PlanRow"], as_json: bool = False) -> None:
    """Print the rows of a plan as a table, TSV or JSON."""
    _show([row.as_json() if as_json else row.cells() for row in plan], as_json)


def _show(records: Any, as_json: bool) -> None:
    """Print rows, whose keys are the columns of the table, or a document in JSON."""
    if isinstance(records, Mapping):
        print_report(records, (), (), as_json)
    elif as_json or records:
        print_rows(records, list(records[0]) if records else (), as_json, LEFT_OUT)


def _cells(row: "Row | Mapping[str, Any]") -> Mapping[str, Any]:
    return row if isinstance(row, Mapping) else row.cells()
