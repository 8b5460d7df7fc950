"""What the command line needs of Click beyond its documented interface, in one place; each has a test of its own."""

from typing import Any

import click


def given_in_order(
    command: click.Command, ctx: click.Context, args: list[str], kind: type[click.Option]
) -> list[tuple[click.Option, Any]]:
    """Return the repeatable options of a kind with a value for each time that they were given, in that order.

    Click keeps the order of an option's values, but not that of one option to the next; its parser has it.
    """
    given, _, order = command.make_parser(ctx).parse_args(list(args))
    options = [option for option in order if isinstance(option, kind)]
    values = {option: iter(given[str(option.name)]) for option in options}
    return [(option, next(values[option])) for option in options]


def is_help(error: click.ClickException) -> bool:
    """Say whether an error is the help text itself, which Click raises where a group is given nothing."""
    return isinstance(error, click.exceptions.NoArgsIsHelpError)
