"""What commands print: a table on a terminal, TSV in a pipe, JSON anywhere; notes and progress go to stderr.

Where CKPTTOOL_TABLE is set, a pipe gets tables too: for logs that people read.
Names come from files that others made, so `core.shown_text` escapes them before a terminal sees them, in JSON as JSON
does; words without end lack their middle in tables and notes, and are whole in TSV and JSON.
"""

import json
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

import click

from ckpttool.cli.show.errors import for_terminal, spelled
from ckpttool.core.shown_text import shortened, visible
from ckpttool.remote.paths import with_urls

Row = Mapping[str, Any]
_UNPRINTED = re.compile(r"[^\x20-\x7e]")
"""Characters that may not be printed: all but those of ASCII that are."""


def print_rows(records: Iterable[Row], columns: Sequence[str], as_json: bool = False) -> None:
    """Print rows: every field in JSON, a row to a line; the named columns in a table or TSV."""
    if as_json:
        click.echo("[" + ",\n ".join(_dumps(row) for row in records) + "]")
    elif shows_tables():
        _table(records, columns)
    else:
        lines = ("\t".join(cell(row.get(column)) for column in columns) for row in records)
        for line in lines if not isinstance(records, list) else _together(lines):
            click.echo(line)


def _together(lines: Iterable[str]) -> Iterator[str]:
    """Yield lines in texts of many: each that is printed is a call of the system."""
    several = iter(lines)
    while some := list(islice(several, 1000)):
        yield "\n".join(some)


def shows_tables() -> bool:
    """Say whether tables are printed: to a terminal, or where they are asked for."""
    return sys.stdout.isatty() or bool(os.environ.get("CKPTTOOL_TABLE"))


def print_document(value: Row, lines: Iterable[str], as_json: bool = False) -> None:
    """Print an answer that is not a table: its fields in JSON, else its lines."""
    if as_json:
        click.echo(_dumps(value))
    else:
        for line in lines:
            click.echo(visible(with_urls(line)))


def say(text: str) -> None:
    """Tell the user something that is not data; parameters that it names are spelled as the command's options."""
    context = click.get_current_context(silent=True)
    click.echo(for_terminal(spelled(text, context.command if context else None)), err=True)


def print_report(value: Row, records: Iterable[Row], columns: Sequence[str], as_json: bool = False) -> None:
    """Print an answer that is a document in JSON and rows elsewhere; no rows, no output."""
    if as_json:
        click.echo(_dumps(value))
    elif listed := list(records):
        print_rows(listed, columns)


def exit_unless(holds: bool) -> None:
    """End a command whose answer is "no" (damage, a difference) with exit code 1."""
    if not holds:
        click.get_current_context().exit(1)


def cell(value: Any) -> str:
    """Return the text of a field: a shape in brackets, names joined by commas.

    >>> cell([784, 300]), cell(("hidden1/kernel", "hidden1/bias")), cell(None), cell(True), cell(0.25)
    ('[784, 300]', 'hidden1/kernel, hidden1/bias', '', 'yes', '0.25')
    """
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)):
        names = value and all(isinstance(each, str) for each in value)
        return cell(", ".join(value)) if names else str(list(value))
    return visible(with_urls(str(value)))


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it: numbers that are not finite become the texts NaN, Infinity, -Infinity.

    >>> plain((1.5, float("-inf"), b"ab"))
    [1.5, '-Infinity', 'ab']
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return with_urls(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def _dumps(value: Any) -> str:
    """Return JSON in which a terminal is steered by nothing; one that has no UTF-8 gets ASCII."""
    text = json.dumps(plain(value), ensure_ascii=not _takes_any_character(), allow_nan=False)
    return text if text.isprintable() else _UNPRINTED.sub(_json_escape, text)


def _takes_any_character() -> bool:
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def _json_escape(match: re.Match[str]) -> str:
    return match[0] if match[0].isprintable() else json.dumps(match[0])[1:-1]


def _table(records: Iterable[Row], columns: Sequence[str]) -> None:
    """Print an aligned table; long names are folded, and lack their middle where they fill screens."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in records:
        table.add_row(*(Text(shortened(cell(row.get(column)))) for column in columns))
    Console(file=sys.stdout).print(table)
