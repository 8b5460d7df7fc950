"""Options whose order on the command line counts: a command is passed them together, in the order given."""

from collections.abc import Sequence
from pathlib import Path

import click

from ckpttool.cli.click_private import given_in_order
from ckpttool.cli.options.shared import Command
from ckpttool.lineage.recording import note_steps
from ckpttool.surgery.edits.script import read_script
from ckpttool.surgery.edits.steps import Step
from ckpttool.surgery.edits.table import EDITS

SCRIPT = "script"


class EditOption(click.Option):
    """An option that stands for an edit, and may be given again and again."""


class InOrder(click.Command):
    """A command that is passed `edits`: name and text of each edit option that was given, in their order."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse twice: once for the order of the edits, then as ever."""
        edits = given_in_order(self, ctx, args, EditOption)
        ctx.params["edits"] = [
            (option.opts[0].removeprefix("--"), "" if text is True else text) for option, text in edits
        ]
        return super().parse_args(ctx, args)


def edit_options(command: Command) -> Command:
    """Give a command an option for each edit, and `--script`, which holds several."""
    rows = [(name, edit.value, edit.help) for name, edit in EDITS.items()]
    rows.append((SCRIPT, "FILE", 'Edits from TOML, one by one: [[edit]] and below it rename = "RE=>NEW".'))
    for name, value, text in reversed(rows):
        how = {"metavar": value} if value else {"is_flag": True}
        command = click.option(f"--{name}", cls=EditOption, multiple=True, expose_value=False, help=text, **how)(
            command
        )
    return command


def steps(edits: Sequence[tuple[str, str]]) -> list[Step]:
    """Return the edits that were asked for, those of a script where it was named; the output's lineage has them."""
    found: list[Step] = []
    for name, text in edits:
        place = f"--{name} {text!r}" if text else f"--{name}"
        found += read_script(Path(text)) if name == SCRIPT else [Step(name, text, place)]
    note_steps(found)
    return found
