"""Output of rows: a table on a terminal, TSV in a pipe, or the requested format; notes are printed to stderr.

With CKPTTOOL_TABLE in the environment pipes get tables too, for logs that people read.
"""

import csv
import io
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Literal

import click

from ckpttool.cli.options.general import FORMAT, HEADER, QUIET
from ckpttool.cli.show.cells import cell, dumps, shown_cell
from ckpttool.cli.show.errors import for_terminal, spelled
from ckpttool.core.shown_text import as_markdown, harmless, visible
from ckpttool.remote.paths import with_urls

if TYPE_CHECKING:
    from ckpttool.cli.show.fitting import Column, Fitted

Row = Mapping[str, Any]
FOR_PROGRAMS = ("tsv", "csv", "jsonl", "markdown")
"""Formats for programs: if requested, stdout contains only rows."""
_TOGETHER = 1000
"""Lines per write, to save system calls."""


def print_rows(
    records: Iterable[Row], columns: Sequence[str], as_json: bool = False, left_out: Sequence[str] | None = None
) -> None:
    """Print rows: all fields in JSON, a row per line; the given columns in other formats.

    Args:
        records: The rows.
        columns: The columns to print, in order.
        as_json: Whether JSON is requested.
        left_out: The columns that a table which is too wide omits, in this order; by default from the right.
    """
    asked = _asked()
    if asked == "jsonl":
        _print_lines(map(dumps, records), records)
    elif as_json:
        click.echo("[" + ",\n ".join(dumps(row) for row in records) + "]")
    elif shows_tables():
        _print_table(records, columns, left_out)
    else:
        _print_lines(_lines(records, columns, asked), records)


def print_report(
    value: Row,
    records: Iterable[Row],
    columns: Sequence[str],
    as_json: bool = False,
    left_out: Sequence[str] | None = None,
) -> None:
    """Print a result that is a document in JSON and rows in other formats; without rows nothing is printed."""
    if as_json and (_asked() != "jsonl" or not columns):
        click.echo(dumps(value))
    elif listed := list(records):
        print_rows(listed, columns, left_out=left_out)


def print_document(value: Row, lines: Iterable[str], as_json: bool = False) -> None:
    """Print a result that is not a table: its fields in JSON, else its lines, to stderr if rows are requested."""
    if as_json:
        click.echo(dumps(value))
        return
    aside = rows_alone()
    for line in lines:
        click.echo(visible(with_urls(line)), err=aside)


def print_text(text: str) -> None:
    """Print a text, with control characters escaped."""
    click.echo(harmless(text), nl=False)


def say(text: str) -> None:
    """Print a message to stderr; parameters in it are spelled as the command's options."""
    context = click.get_current_context(silent=True)
    if context and context.meta.get(QUIET):
        return
    click.echo(for_terminal(spelled(text, context.command if context else None)), err=True)


def exit_unless(holds: bool) -> None:
    """Exit with code 1 if the answer of a command is "no": damage, a difference."""
    if not holds:
        click.get_current_context().exit(1)


def shows_tables() -> bool:
    """Return whether rows are printed as tables: if requested, else on a terminal."""
    asked = _asked()
    if asked is not None:
        return asked == "table"
    return sys.stdout.isatty() or bool(os.environ.get("CKPTTOOL_TABLE"))


def rows_alone() -> bool:
    """Return whether stdout must contain only rows, because a format for programs is requested."""
    return _asked() in FOR_PROGRAMS


def _asked() -> str | None:
    """Return the requested format, or None."""
    asked: str | None = _option(FORMAT)
    return asked


def _option(key: str) -> Any:
    context = click.get_current_context(silent=True)
    return context.meta.get(key) if context else None


def _print_lines(lines: Iterable[str], records: Iterable[Row]) -> None:
    """Print lines, many per write if all rows are known in advance."""
    several = iter(lines)
    while some := list(islice(several, _TOGETHER if isinstance(records, list) else 1)):
        click.echo("\n".join(some))


def _lines(records: Iterable[Row], columns: Sequence[str], asked: str | None) -> Iterator[str]:
    """Yield the lines of rows in the requested format for programs, by default TSV."""
    header = _option(HEADER)
    has_header = asked in ("csv", "markdown") if header is None else header
    written = _markdown_cell if asked == "markdown" else cell
    rows = ([written(row.get(column)) for column in columns] for row in records)
    texts = chain([list(columns)] if has_header else [], rows)
    if asked == "csv":
        yield from map(_as_csv, texts)
    elif asked == "markdown":
        for number, row in enumerate(texts):
            yield f"| {' | '.join(row)} |"
            if has_header and number == 0:
                yield f"| {' | '.join('---' for _ in columns)} |"
    else:
        yield from map("\t".join, texts)


def _markdown_cell(value: Any) -> str:
    """Return the text of a field with Markdown and HTML in names escaped; shapes and other numbers need none."""
    parts = value if isinstance(value, list | tuple) else [value]
    return cell(value) if all(isinstance(each, int | float | None) for each in parts) else as_markdown(cell(value))


def _as_csv(row: Sequence[str]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="").writerow(row)
    return file.getvalue()


def _print_table(records: Iterable[Row], names: Sequence[str], left_out: Sequence[str] | None) -> None:
    """Print a table that fits the terminal, else each row as a record; omitted columns are listed in a note."""
    from ckpttool.cli.show.fitting import columns_of, fitted

    rows = [[row.get(name) for name in names] for row in records]
    texts = ([shown_cell(value, name) for name, value in zip(names, row, strict=True)] for row in rows)
    columns, width = columns_of(names, rows, texts), shutil.get_terminal_size().columns
    found = fitted(columns, width, left_out)
    if found is None:
        _print_records(columns, width)
        return
    _print_fitted(found, width)
    if found.left_out:
        say(f"omitted to fit the width: {', '.join(found.left_out)} (--format json has all)")


def _print_fitted(found: "Fitted", width: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column, size in zip(found.columns, found.widths, strict=True):
        justify: Literal["right", "left"] = "right" if column.is_number else "left"
        table.add_column(column.name, justify=justify, width=size, no_wrap=not column.wraps)
    for cells in zip(*(column.cells for column in found.columns), strict=True):
        table.add_row(*map(Text, cells))
    Console(file=sys.stdout, width=width).print(table)


def _print_records(columns: "Sequence[Column]", width: int) -> None:
    """Print each row as a record, a field per line, followed by an empty line."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from ckpttool.cli.show.fitting import records

    console = Console(file=sys.stdout, width=width)
    for number, record in enumerate(records(columns, width)):
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(no_wrap=True, style="bold")
        table.add_column()
        for name, text in record:
            table.add_row(Text(name), Text(text))
        if number:
            click.echo()
        console.print(table)
