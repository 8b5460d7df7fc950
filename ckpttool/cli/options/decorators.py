"""Decorators of commands: groups of options, checks before a command runs, and options passed as one argument."""

from collections.abc import Callable, Collection
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]


def together(*options: Decorator) -> Decorator:
    """Combine the decorators of several options into one; the help lists the options in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def count_option(name: str, text: str, default: int | None = None, least: int = 1) -> Decorator:
    """Return the option of a whole number N, of `least` or more."""
    number, shown = click.IntRange(min=least), default is not None
    return click.option(name, metavar="N", type=number, default=default, show_default=shown, help=text)


def checked_first(check: Callable[[Path], None], *names: str) -> Decorator:
    """Return a decorator that checks path parameters before the command runs; parameters without a value are skipped.

    The check runs at the start of the command, when all values are known, since `--config` may provide paths.
    """

    def decorate(command: Command) -> Command:
        @wraps(command)
        def checked(**given: Any) -> Any:
            for value in filter(None, map(given.get, names)):
                for path in value if isinstance(value, tuple) else (value,):
                    check(path)
            return command(**given)

        return checked

    return decorate


def as_value(name: str, build: Callable[..., object], *options: Decorator, but: Collection[str] = ()) -> Decorator:
    """Return a decorator that passes options to the command as one value `name`, built from them.

    `build` is called with the options that its parameters name, and the command gets the result instead. The options
    include those decorated elsewhere on the command, except those in `but`, which have another meaning there.

    >>> import click
    >>> @click.command()
    ... @as_value("size", lambda height, width: height * width, *(click.option(f"--{each}") for each in ("h", "w")))
    ... def draw(size): ...
    >>> [option.name for option in draw.params]
    ['h', 'w']
    """
    parameters = [each for each in signature(build).parameters if each not in but]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def joining(**given: Any) -> Any:
            joined = {each: given.pop(each) for each in parameters if each in given}
            return command(**given, **{name: build(**joined)})

        return together(*options)(joining)

    return decorate


def as_arguments(name: str, *options: Decorator) -> Decorator:
    """Return a decorator that passes options to the command as one mapping `name`, for the keywords of its verb.

    >>> import click
    >>> @click.command()
    ... @as_arguments("rows", click.option("--valid"), click.option("--group"))
    ... def judge(rows): ...
    >>> [option.name for option in judge.params]
    ['valid', 'group']
    """
    decorated = together(*options)(lambda: None)
    names = [option.name for option in decorated.__click_params__]  # type: ignore[attr-defined]

    def decorate(command: Command) -> Command:
        @wraps(command)
        def gathering(**given: Any) -> Any:
            gathered = {each: given.pop(each) for each in names}
            return command(**given, **{name: gathered})

        return together(*options)(gathering)

    return decorate
