"""Write the generated pages: cli.md from `--help`, api.md, calls.md and rooms from docstrings, formats.md, the demo.

With `--check` print what is out of date, and write nothing. The programs are run by `make transcript` (the README's
demo), `make tables` (those of chapter11.md), `make reuse` (those of how-much-to-reuse.md), `make few-labels` (those of
few-labels.md), `make attacks` and `make trust`.
"""

import ast
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import api_page
import attack_figures
import attack_pages
import click
import few_labels
import reuse
from demo import COMMANDS as DEMO

from ckpttool.cli import BESIDE, COMMANDS, SHORT, main
from ckpttool.cli.show.help import LongHelp, all_options
from ckpttool.core.calls import Call
from ckpttool.data.preprocessing_steps import Step
from ckpttool.formats import registry, unread
from ckpttool.layouts import Layout
from ckpttool.runtime.activations import INITIALIZERS, Activation
from ckpttool.runtime.augmentations import Operation
from ckpttool.runtime.losses import Loss
from ckpttool.runtime.optimizers import Optimizer
from ckpttool.runtime.schedules import Schedule
from ckpttool.runtime.spec import Layer
from ckpttool.verbs.formats import as_texts, format_rows

DOCS = Path(__file__).parent
PACKAGE = DOCS.parent / "ckpttool"
README = DOCS.parent / "README.md"
TRUST = DOCS.parent / "trust" / "README.md"
TRANSCRIPT = DOCS / "demo.txt"
TABLES = DOCS / "chapter11.txt"
WIDTH = 80
SUMMARIES_HEADER = '''"""The first line of each command's help, written by `make docs`; the list of all imports none."""
'''
CLI_HEADER = """# Commands

<!-- Written by `make docs` from `--help`: change the commands' own texts, not this page. -->

Every command with all of its options, as `ckpttool COMMAND --help-all` prints them. `ckpttool COMMAND --help` prints
the most important ones. For examples in order, see the [tour](../README.md#what-it-is-for).
"""
CALLS_HEADER = """# Call syntax

<!-- Written by `make docs` from docstrings: change those, not this page. -->

Values of options such as `--optimizer`, `--augment` and `--layers` are written as calls, for example
`'momentum(0.05, momentum=0.9)'`. This page lists all calls. They have Python's syntax, with positional and keyword
arguments; parentheses are optional for a single call without arguments. Nothing is evaluated.
"""
FAMILIES = {
    "float8": {"float8_e5m2", "float8_e4m3fn"},
    "4-bit integers": {"int4", "uint4"},
    "quantised (qint8 ...)": {"qint8", "quint8", "qint16", "quint16", "qint32"},
    "complex": {"complex64", "complex128"},
    "integers": {"uint8", "int8", "uint16", "int16", "int32", "uint32", "int64", "uint64"},
}
"""The name, in the table of formats, for dtypes of which a format supports none."""
CALLS: dict[str, type[Call]] = {
    "Optimizers, `--optimizer`": Optimizer,
    "Schedules of the learning rate, `--schedule`": Schedule,
    "Losses, `--objective`": Loss,
    "Steps of preprocessing, `--preprocess`": Step,
    "Operations on images, `--augment`": Operation,
    "Layers, `--layers` of `new` and `--head` of `reuse`": Layer,
    "Activations of layers": Activation,
    "Layouts of weights, in rules of `import`": Layout,
}
"""The families of calls by their headings on the page."""
DEMO_HEADER = """# The demo

This is the output of `make demo` in a checkout; it requires only Python and `make`. `zero_to_four.ckpt` is a network
that a plain TensorFlow 1 program trained on MNIST's digits 0 to 4. `five_to_nine.npz` has 200 labelled examples of the
digits 5 to 9, and 1,000 test examples. Both are in [fixtures](../fixtures/README.md). The same layers are trained from
scratch, reused with the convolutions frozen, and reused with the depth that `search` recommends.
"""


def cli() -> str:
    """Return the page of commands: the group's help, then each command's."""
    return "\n".join([CLI_HEADER, *_sections()])


def _sections() -> Iterator[str]:
    """Yield a section for each command."""
    group = _context(main, "ckpttool")
    yield _section("ckpttool", group)
    for name in COMMANDS:
        command = main.get_command(group, name)
        if command is None:
            raise SystemExit(f"no command {name}")
        yield _section(f"ckpttool {name}", shown := _context(command, f"ckpttool {name}"))
        for each in command.list_commands(shown) if isinstance(command, click.Group) else ():
            if (own := command.get_command(shown, each)) is not None:
                yield _section(f"ckpttool {name} {each}", _context(own, f"ckpttool {name} {each}"))
        for each in BESIDE.get(name, {}):
            if (own := main.get_command(group, f"{name} {each}")) is not None:
                yield _section(f"ckpttool {name} {each}", _context(own, f"ckpttool {name} {each}"))


def summaries() -> str:
    """Return the module with the first line of each command's help, so that a list of commands imports none."""
    group = _context(main, "ckpttool")
    lines = []
    for name in main.list_commands(group):
        if (command := main.get_command(group, name)) is None:
            raise SystemExit(f"no command {name}")
        lines.append(f"    {json.dumps(name)}: {json.dumps(command.get_short_help_str(SHORT), ensure_ascii=False)},")
    return "\n".join([SUMMARIES_HEADER, "SUMMARIES = {", *lines, "}", ""])


def _context(command: click.Command, name: str) -> click.Context:
    """Return a context of a fixed width, so that the page does not depend on a terminal."""
    return click.Context(command, info_name=name, terminal_width=WIDTH, help_option_names=["-h", "--help"])


def _section(title: str, shown: click.Context) -> str:
    """Return a heading and a help text."""
    command = shown.command
    text = all_options(command, shown) if isinstance(command, LongHelp) else shown.get_help()
    return f"## {title}\n\n```text\n{text}\n```\n"


def calls() -> str:
    """Return the page of calls: a table for each family, with each class's own description."""
    sections = []
    for heading, family in CALLS.items():
        rows = [f"| `{call}` | {summary} |" for call, summary in (each.describe() for each in family.known().values())]
        sections.append("\n".join([f"## {heading}\n", "| call | |", "| --- | --- |", *rows]))
    names = ", ".join(f"`{name}`" for name in INITIALIZERS)
    return "\n".join([CALLS_HEADER, "\n\n".join(sections), f"\nInitialisers of layers, `init`: {names}.\n"])


def checkpoint_formats() -> str:
    """Return the table of the formats in the registry, with their own descriptions."""
    rows = [as_texts({**row, "cannot_hold": _families(row["cannot_hold"])}) for row in format_rows(registry.BUILTIN)]
    head = ["| format | can | outputs named | cannot store | limits |", "| --- | --- | --- | --- | --- |"]
    return "\n".join([*head, *(f"| `{row['name']}` | {' | '.join(list(row.values())[1:])} |" for row in rows)])


def _families(dtypes: Iterable[str]) -> list[str]:
    """Return the dtypes, with a whole family replaced by its name, so that the table's columns are narrow."""
    names = list(dtypes)
    for family, members in FAMILIES.items():
        if members <= set(names):
            names = [name for name in names if name not in members] + [family]
    return names


def unread_files() -> str:
    """Return the table of unsupported files, with the way to convert them."""
    return "\n".join(
        ["| file | remedy |", "| --- | --- |", *(f"| {what} | {remedy} |" for what, remedy in unread.rows())]
    )


def demo() -> str:
    """Return the page of the demo: its transcript.

    Raises:
        SystemExit: if the transcript is not of the present demo.
    """
    transcript = TRANSCRIPT.read_text(encoding="utf-8")
    wanted = [f"$ {command}" for command in DEMO.strip().splitlines()]
    if [line for line in transcript.splitlines() if line.startswith("$ ")] != wanted:
        raise SystemExit(f"{TRANSCRIPT.name} has other commands than the demo: run `make transcript`")
    return f"{DEMO_HEADER}\n```text\n{transcript.rstrip()}\n```\n"


def tables() -> str:
    """Return the output of the chapter's benchmark."""
    return "```text\n" + TABLES.read_text(encoding="utf-8") + "```"


def rooms() -> str:
    """Return the packages and the files in each, with the first sentences of their docstrings."""
    return "\n\n".join(_room(folder) for folder in [PACKAGE, *sorted(PACKAGE.rglob("*/"))] if _files(folder))


def _room(folder: Path) -> str:
    """Return a folder's purpose and its files, in a list."""
    name = folder.relative_to(PACKAGE.parent).as_posix()
    purpose = _purpose(folder / "__init__.py")
    lines = [f"- `{file.name}`: {_purpose(file)}" for file in _files(folder)]
    return "\n".join([f"**`{name}/`**: {purpose}", "", *lines])


def _files(folder: Path) -> list[Path]:
    """Return the handwritten files of a folder."""
    return sorted(file for file in folder.glob("*.py") if not file.name.endswith(("_pb2.py", "__.py")))


def _purpose(file: Path) -> str:
    """Return the first paragraph of a file's docstring, in one line."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())


def with_blocks(page: Path, **blocks: str) -> str:
    """Return a page with the texts between its two marks of each name replaced.

    Raises:
        SystemExit: if the page does not have both marks.
    """
    text = page.read_text(encoding="utf-8")
    for name, block in blocks.items():
        begin, end = f"<!-- {name}: written by `make docs` -->", f"<!-- end of {name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise SystemExit(f"{page.name}: no marks for {name}")
        text = f"{before}{begin}\n{block}\n{end}{after}"
    return text


def run(check: bool) -> int:
    """Write the pages, or compare them with their expected content; return the exit code."""
    pages = {
        DOCS / "api.md": api_page.page(),
        PACKAGE / "cli" / "summaries.py": summaries(),
        DOCS / "cli.md": cli(),
        DOCS / "demo.md": demo(),
        DOCS / "calls.md": calls(),
        DOCS / "chapter11.md": with_blocks(DOCS / "chapter11.md", tables=tables()),
        DOCS / "design.md": with_blocks(DOCS / "design.md", rooms=rooms()),
        DOCS / "few-labels.md": with_blocks(DOCS / "few-labels.md", **few_labels.tables()),
        DOCS / "formats.md": with_blocks(DOCS / "formats.md", formats=checkpoint_formats(), unread=unread_files()),
        DOCS / "how-much-to-reuse.md": with_blocks(DOCS / "how-much-to-reuse.md", **reuse.tables()),
        README: with_blocks(README, trust=attack_figures.tables()["trust"]),
        attack_pages.PAGE: attack_pages.page(),
        TRUST: with_blocks(TRUST, figures=attack_figures.tables()["figures"]),
    }
    stale = [page for page, wanted in pages.items() if not page.exists() or page.read_text(encoding="utf-8") != wanted]
    for page in stale:
        if check:
            print(f"{page.name} is out of date: run `make docs`", file=sys.stderr)
        else:
            page.write_text(pages[page], encoding="utf-8")
    return int(check and bool(stale))


if __name__ == "__main__":
    sys.exit(run(check="--check" in sys.argv[1:]))
