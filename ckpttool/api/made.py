"""The result of a function that writes: its path, the plan, and notes."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckpttool.core.notebooks import cells_of, html_table
from ckpttool.lineage.provenance import Command
from ckpttool.model.plan import Plan


@dataclass(frozen=True, repr=False)
class Made:
    """An output that was written and read back: its path, the plan's rows, and notes.

    It is accepted wherever a path is: `finetune(reuse(...), data, "tuned.ckpt")`.
    """

    output: Path
    rows: Sequence[Any]
    notes: Sequence[str]
    done: str = field(default="written and read back")

    def __fspath__(self) -> str:
        return str(self.output)

    def __repr__(self) -> str:
        return f"<Made {self.output}: {self.done}>"

    def _repr_html_(self) -> str:
        """Return the plan's rows as a table, for a notebook."""
        return html_table([cells_of(row) for row in self.rows], f"{self.output}: {self.done}", self.notes)


def make(plan: Plan, output: Path, overwrite: bool, command: Command) -> Made:
    """Write what a plan specifies, and return the result.

    Raises:
        ExistingOutput: the output exists.
        CorruptCheckpoint: what was read back differs.
    """
    plan.check(output, overwrite)
    rows, notes = list(plan.rows), list(plan.notes)
    noticed = plan.write(output, overwrite, command) or ()
    return Made(output, rows, [*notes, *noticed], plan.done)
