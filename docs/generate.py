"""Write docs/cli.md from what `--help` says; with `--check` say whether it is up to date, and write nothing."""

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from ckpttool.cli import COMMANDS, main

PAGE = Path(__file__).parent / "cli.md"
WIDTH = 100
HEADER = "# Commands\n\nWritten by `make docs` from `--help`; change the commands' own texts, not this page.\n"


def page() -> str:
    """Return the whole page: the group's help, then each command's."""
    return "\n".join([HEADER, *sections()])


def sections() -> Iterator[str]:
    """Yield a section to a command."""
    group = context(main, "ckpttool")
    yield section("ckpttool", group)
    for name in COMMANDS:
        command = main.get_command(group, name)
        if command is None:
            raise SystemExit(f"no command {name}")
        yield section(f"ckpttool {name}", context(command, f"ckpttool {name}"))


def context(command: click.Command, name: str) -> click.Context:
    """Return a context of a width of its own, so that the page does not depend on a terminal."""
    return click.Context(command, info_name=name, terminal_width=WIDTH, help_option_names=["-h", "--help"])


def section(title: str, shown: click.Context) -> str:
    """Return a heading and a help text."""
    return f"## {title}\n\n```text\n{shown.get_help()}\n```\n"


def run(check: bool) -> int:
    """Write the page, or compare it with what it should be; return the exit code."""
    wanted = page()
    if not check:
        PAGE.write_text(wanted, encoding="utf-8")
        return 0
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == wanted:
        return 0
    print(f"{PAGE.name} is out of date: run `make docs`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(run(check="--check" in sys.argv[1:]))
