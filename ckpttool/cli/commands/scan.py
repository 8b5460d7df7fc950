"""`ckpttool scan`: code and ops with side effects in files."""

from pathlib import Path

import click

from ckpttool.cli.options.general import WRITTEN, rows_options
from ckpttool.cli.options.reading import ENTRY_OR_PATH
from ckpttool.cli.options.writing import overwrite_option
from ckpttool.cli.sandbox.reading import reading_confined_always
from ckpttool.cli.show.tables import print_report, say
from ckpttool.scanning.finding import SEVERITIES, Severity
from ckpttool.verbs.scan import scan as scanned
from ckpttool.verbs.scan import write_sarif

COLUMNS = ("severity", "file", "where", "what", "reason", "helps")
LEFT_OUT = ("helps",)
"""The column that a narrow table omits; the others are always shown."""


@click.command()
@click.argument("paths", metavar="PATH...", nargs=-1, required=True, type=ENTRY_OR_PATH)
@click.option(
    "--severity", type=click.Choice(SEVERITIES), default="low", help="Show only findings of at least this severity."
)
@click.option("--sarif", metavar="FILE", type=WRITTEN, help="Also write the findings as SARIF 2.1.0.")
@overwrite_option
@rows_options
@reading_confined_always
def scan(paths: tuple[Path, ...], severity: Severity, sarif: Path | None, overwrite: bool, as_json: bool) -> None:
    """Scan files, folders or checkpoint prefixes for code and ops that act when PATH is opened or run.

    It checks ops with side effects, also in functions and in graphs hidden in values; pickles; Keras configs; models
    of TensorFlow.js; HDF5 links; zip files; assets; and records that point to other files. Nothing is run or
    unpickled. The exit code is 0 if nothing is found, 1 if something is, and 2 if a file could not be read. JSON and
    SARIF list every finding; the table groups similar ones.

    \b
    Example:
      ckpttool scan downloaded_model/ --sarif findings.sarif
    """
    findings = scanned(paths, severity)
    if sarif is not None:
        write_sarif(findings, sarif, overwrite)
    print_report(findings.as_json(), findings.rows, COLUMNS, as_json, LEFT_OUT)
    for each in findings.unread:
        say(f"{each.file}: {each.problem}")
    say(findings.summary())
    click.get_current_context().exit(findings.code)
