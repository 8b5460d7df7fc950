"""What the commands that rewrite graphs have in common: what is fed and asked for, and how a plan is carried out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import click

from ckpttool.cli.options.shared import together
from ckpttool.cli.show.output import report
from ckpttool.cli.show.plans import carry_out_shown
from ckpttool.model.plan import Writing

COLUMNS = ("what", "before", "after")


class Planned(Writing, Protocol):
    """What a verb will do to a graph."""

    @property
    def rows(self) -> Sequence[dict[str, Any]]:
        """How large the graph was, and becomes."""

    def as_json(self) -> dict[str, Any]:
        """Return the plan as JSON has it."""


def carry_out(planned: Planned, output: Path, overwrite: bool, plan_only: bool, as_json: bool) -> None:
    """Show how large the graph was and becomes and, unless that is all that was asked for, write it."""

    def show() -> None:
        report(planned.as_json(), planned.rows, COLUMNS, as_json)

    carry_out_shown(planned, output, overwrite, plan_only, show)


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


sides = together(_inputs, _outputs)
"""`--inputs` and `--outputs`."""
