"""What the commands that rewrite graphs have in common: what is fed and asked for, and how a plan is carried out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import click

from ckpttool.cli.options import Command
from ckpttool.cli.output import report, say

COLUMNS = ("what", "before", "after")


class Planned(Protocol):
    """What a verb will do to a graph, made before anything is written."""

    @property
    def rows(self) -> Sequence[dict[str, Any]]:
        """How large the graph was, and becomes."""

    @property
    def notes(self) -> Sequence[str]:
        """What a user should know besides."""

    @property
    def done(self) -> str:
        """What will have been done, for a person."""

    def as_json(self) -> dict[str, Any]:
        """Return the plan as JSON has it."""

    def check(self, output: str | Path, overwrite: bool = False) -> None:
        """Raise what can be raised before anything is shown: an output that exists."""

    def write(self, output: str | Path, overwrite: bool = False) -> None:
        """Write it and read it back."""


def carry_out(planned: Planned, output: Path, overwrite: bool, plan_only: bool, as_json: bool) -> None:
    """Show a plan and, unless that is all that was asked for, write what it says and say that it was done."""
    if not plan_only:
        planned.check(output, overwrite)
    report(planned.as_json(), planned.rows, COLUMNS, as_json)
    for note in planned.notes:
        say(note)
    if not plan_only:
        planned.write(output, overwrite)
        say(f"{output}: written and read back, {planned.done}")


def _names(_context: click.Context, _option: click.Parameter, value: str | None) -> tuple[str, ...]:
    return tuple(text.strip() for text in (value or "").split(",") if text.strip())


_inputs = click.option(
    "--inputs",
    metavar="X,...",
    callback=_names,
    help="The tensors that are fed, also as NAME=TENSOR; one that is no placeholder becomes one.",
)
_outputs = click.option(
    "--outputs", metavar="Y,...", callback=_names, help="The tensors that are asked for, also as NAME=TENSOR."
)


def sides(command: Command) -> Command:
    """Give a command `--inputs` and `--outputs`."""
    return _inputs(_outputs(command))
