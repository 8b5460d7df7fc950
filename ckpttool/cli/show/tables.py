"""What commands print: a table on a terminal, TSV in a pipe, another format where it is asked for; notes go to stderr.

Where CKPTTOOL_TABLE is set, a pipe gets tables too: for logs that people read.
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
from ckpttool.core.shown_text import harmless, visible
from ckpttool.remote.paths import with_urls

if TYPE_CHECKING:
    from ckpttool.cli.show.fitting import Column, Fitted

Row = Mapping[str, Any]
FOR_PROGRAMS = ("tsv", "csv", "jsonl", "markdown")
"""Formats of which standard output has rows and nothing else, where they are asked for."""
_TOGETHER = 1000
"""Lines that are printed as one text: each print is a call of the system."""


def print_rows(
    records: Iterable[Row], columns: Sequence[str], as_json: bool = False, left_out: Sequence[str] | None = None
) -> None:
    """Print rows: every field in JSON, a row to a line; the named columns in any other format.

    Args:
        records: The rows.
        columns: What is shown of them, in this order.
        as_json: Whether JSON is asked for.
        left_out: The columns that a table lacks where it is too wide, the first to go first; without it those from the
            right.
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
    """Print an answer that is a document in JSON and rows elsewhere; no rows, no output."""
    if as_json and (_asked() != "jsonl" or not columns):
        click.echo(dumps(value))
    elif listed := list(records):
        print_rows(listed, columns, left_out=left_out)


def print_document(value: Row, lines: Iterable[str], as_json: bool = False) -> None:
    """Print an answer that is not a table: its fields in JSON, else its lines, to stderr where rows are asked for."""
    if as_json:
        click.echo(dumps(value))
        return
    aside = rows_alone()
    for line in lines:
        click.echo(visible(with_urls(line)), err=aside)


def print_text(text: str) -> None:
    """Print a text as it is, but for what steers a terminal."""
    click.echo(harmless(text), nl=False)


def say(text: str) -> None:
    """Tell the user something that is not data; parameters that it names are spelled as the command's options."""
    context = click.get_current_context(silent=True)
    if context and context.meta.get(QUIET):
        return
    click.echo(for_terminal(spelled(text, context.command if context else None)), err=True)


def exit_unless(holds: bool) -> None:
    """End a command whose answer is "no" (damage, a difference) with exit code 1."""
    if not holds:
        click.get_current_context().exit(1)


def shows_tables() -> bool:
    """Say whether tables are printed: where they are asked for, else to a terminal."""
    asked = _asked()
    if asked is not None:
        return asked == "table"
    return sys.stdout.isatty() or bool(os.environ.get("CKPTTOOL_TABLE"))


def rows_alone() -> bool:
    """Say whether standard output is for rows and nothing else: where a format for programs is asked for."""
    return _asked() in FOR_PROGRAMS


def _asked() -> str | None:
    """Return the format that is asked for."""
    asked: str | None = _option(FORMAT)
    return asked


def _option(key: str) -> Any:
    context = click.get_current_context(silent=True)
    return context.meta.get(key) if context else None


def _print_lines(lines: Iterable[str], records: Iterable[Row]) -> None:
    """Print lines, many at once where all rows are known already."""
    several = iter(lines)
    while some := list(islice(several, _TOGETHER if isinstance(records, list) else 1)):
        click.echo("\n".join(some))


def _lines(records: Iterable[Row], columns: Sequence[str], asked: str | None) -> Iterator[str]:
    """Yield the lines of rows in a format for programs: TSV, if none is asked for."""
    header = _option(HEADER)
    has_header = asked in ("csv", "markdown") if header is None else header
    rows = ([cell(row.get(column)) for column in columns] for row in records)
    texts = chain([list(columns)] if has_header else [], rows)
    if asked == "csv":
        yield from map(_as_csv, texts)
    elif asked == "markdown":
        for number, row in enumerate(texts):
            yield f"| {' | '.join(text.replace('|', chr(92) + '|') for text in row)} |"
            if has_header and number == 0:
                yield f"| {' | '.join('---' for _ in columns)} |"
    else:
        yield from map("\t".join, texts)


def _as_csv(row: Sequence[str]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="").writerow(row)
    return file.getvalue()


def _print_table(records: Iterable[Row], names: Sequence[str], left_out: Sequence[str] | None) -> None:
    """Print a table that fits the terminal; else each row as a record. What is left out is said."""
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
    """Print each row as a record, a field to a line, with an empty line behind it."""
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
