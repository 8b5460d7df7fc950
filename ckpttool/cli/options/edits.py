"""Edits: options whose order matters; the command gets them as `steps`, in the order of the command line."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.click_private import given_in_order
from ckpttool.cli.options.decorators import Decorator, together
from ckpttool.cli.show.help import IN_ORDER, LongHelp
from ckpttool.surgery.edits import EDITS
from ckpttool.surgery.edits.steps import Step, read_script

SCRIPT = "script"


class EditOption(click.Option):
    """A repeatable option that specifies an edit."""

    heading = IN_ORDER


class EditCommand(LongHelp):
    """A command that gets `steps`: the edits of its options, and those of its scripts, in order."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the command line, and parse it again for the order of the edits."""
        args = list(_with_values(args))
        given = list(args)
        rest = super().parse_args(ctx, args)
        steps: list[Step] = []
        for option, text in given_in_order(self, ctx, given, EditOption):
            flag = max(option.opts, key=len)
            if option.name == SCRIPT:
                steps += read_script(Path(text))
            else:
                value = text if isinstance(text, str) else ""
                steps.append(Step(flag.removeprefix("--"), value, f"{flag} {value!r}" if value else flag))
        ctx.params["steps"] = steps
        return rest


def _with_values(args: list[str]) -> Iterator[str]:
    """Yield arguments, with an empty value for an option with an optional value if the next argument cannot be it.

    >>> list(_with_values(["--fold-batch-norm", "net.pt", "--fold-batch-norm", "conv=bn"]))
    ['--fold-batch-norm=', 'net.pt', '--fold-batch-norm', 'conv=bn']
    """
    optional = {f"--{name}" for name, edit in EDITS.items() if edit.optional}
    for arg, following in itertools.zip_longest(args, args[1:], fillvalue=""):
        yield f"{arg}=" if arg in optional and "=" not in following else arg


def _edit_option(name: str, metavar: str | None, text: str, optional: bool = False) -> Decorator:
    how: dict[str, Any] = {"metavar": metavar} if metavar else {"is_flag": True}
    if optional:
        how |= {"is_flag": False, "flag_value": ""}
    return click.option(f"--{name}", cls=EditOption, multiple=True, expose_value=False, help=text, **how)


edit_options = together(
    *(_edit_option(name, edit.notation, edit.help(), edit.optional) for name, edit in EDITS.items()),
    _edit_option(
        SCRIPT, "FILE", 'A TOML file of edits, each a table [[edit]] with an entry such as rename = "RE=>NEW".'
    ),
)
"""An option for each edit, and `--script`, which holds several."""
