"""What options are made of: several in one decorator, checked first, or passed on as one value or one mapping."""

from collections.abc import Callable, Collection
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]


def together(*options: Decorator) -> Decorator:
    """Return one decorator for several options, which the help lists in this order."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


def checked_first(check: Callable[[Path], None], *names: str) -> Decorator:
    """Return a decorator that has a command check some of its parameters before all that takes its time.

    It is done where the command begins, when it is known what was given: a file of options may have other paths.
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
    """Return a decorator for options that a command is passed as one value.

    `build` makes the value of those options of the command that its own parameters name; the command is passed it as
    `name` in their place. Options that stand before this in the help may be among them; those in `but`, which mean
    something else to the command, are not.

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
    """Return a decorator for options that a command is passed as one mapping `name`, to give on to its verb as it is.

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
