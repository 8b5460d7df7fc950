"""Uses of Click beyond its documented interface, in one place; each has a test."""

from typing import Any

import click


def given_in_order(
    command: click.Command, ctx: click.Context, args: list[str], kind: type[click.Option]
) -> list[tuple[click.Option, Any]]:
    """Return the occurrences of all options of a class with their values, in the order of the command line.

    Click keeps the order of the values of one option, but not between options; its parser does.
    """
    given, _, order = command.make_parser(ctx).parse_args(list(args))
    options = [option for option in order if isinstance(option, kind)]
    values = {option: iter(given[str(option.name)]) for option in options}
    return [(option, next(values[option])) for option in options]


def is_help(error: click.ClickException) -> bool:
    """Return whether an error is the help text, which Click raises for a group without arguments."""
    return isinstance(error, click.exceptions.NoArgsIsHelpError)
