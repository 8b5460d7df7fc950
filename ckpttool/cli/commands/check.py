"""`ckpttool check`: all quality gates of a model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.gating import bounds_options
from ckpttool.cli.options.general import PATH, WRITTEN, rows_options
from ckpttool.cli.options.reading import (
    SOURCE,
    allow_op_option,
    ema_option,
    model_argument,
    tags_option,
    weights_file_option,
)
from ckpttool.cli.options.recipe import objective_options
from ckpttool.cli.options.rows import judged_rows_options, roles_options, there_first
from ckpttool.cli.process import open_to_run
from ckpttool.cli.sandbox.reading import reading_confined
from ckpttool.cli.sandbox.running import running_confined
from ckpttool.cli.show.help import LongHelp
from ckpttool.cli.show.progress import ProgressPrinter
from ckpttool.cli.show.tables import exit_unless, print_report, say
from ckpttool.runtime.objectives import Objective
from ckpttool.scanning.finding import SEVERITIES, Severity
from ckpttool.training.gates import Bounds

COLUMNS = ("gate", "state", "found", "asked")


@click.command(cls=LongHelp)
@model_argument
@weights_file_option
@click.option(
    "--unchanged",
    "same",
    metavar="RE OTHER",
    type=(str, SOURCE),
    multiple=True,
    help="These tensors must have the same bytes as in the checkpoint OTHER; may be repeated.",
)
@click.option("--data", metavar="DATA", type=PATH, help="Data to evaluate on, as for `ckpttool evaluate`.")
@there_first("data")
@bounds_options
@click.option(
    "--severity",
    type=click.Choice(SEVERITIES),
    default="high",
    show_default=True,
    help="Fail if `scan` has a finding of at least this severity.",
)
@click.option("--junit", metavar="FILE", type=WRITTEN, help="Write the results as a JUnit XML file.")
@click.option("--overwrite", is_flag=True, help="Replace the --junit file if it exists.")
@click.option(
    "--summary",
    metavar="FILE",
    type=WRITTEN,
    envvar="GITHUB_STEP_SUMMARY",
    help="Append the results as Markdown to FILE. Default on GitHub: the step summary.",
)
@judged_rows_options
@ema_option
@objective_options
@roles_options
@tags_option
@allow_op_option
@running_confined
@rows_options
@reading_confined
def check(
    model: Path,
    same: tuple[tuple[str, Path], ...],
    data: Path | None,
    asked: tuple[Bounds, Path | None],
    severity: Severity,
    junit: Path | None,
    overwrite: bool,
    summary: Path | None,
    reading: Mapping[str, Any],
    ema: bool,
    objective: Objective | None,
    roles: Mapping[str, Any],
    tags: list[str] | None,
    allow_op: tuple[str, ...],
    as_json: bool,
) -> None:
    """Run all quality gates on MODEL, for CI: exit with 0 if all pass, with 1 if one fails.

    Always: verify (every checksum, and every rule of the format) and scan (no code or op with side effects). With
    --unchanged: layers that were frozen have the same bytes as before. With --data: accuracy and loss are within their
    bounds; MODEL runs only if verify and scan pass. If a file is missing or is not a model, the exit code is 2.

    \b
    Example:
      ckpttool check tuned.ckpt --unchanged 'hidden[12]' my_model_final.ckpt --data mnist.npz --min-accuracy 0.9
      ckpttool check tuned.ckpt --data mnist.npz --max-drop 0.01 --baseline my_model_final.ckpt --junit gates.xml
    """
    from ckpttool.verbs import check as verb
    from ckpttool.verbs.evaluate import Evaluation, evaluate_against

    bounds, baseline = asked

    def judge() -> tuple[Evaluation, Evaluation | None]:
        opened = open_to_run(model, allow_op, ema=ema)
        before = open_to_run(baseline, allow_op, ema=ema) if baseline else None
        how = {"roles": roles, "objective": objective, "callbacks": ProgressPrinter(as_json), **reading}
        return evaluate_against(opened, before, str(data), **how)

    checked = verb.check(model, same, bounds, judge if data else None, severity, tags)
    if junit:
        verb.write_junit(checked, junit, overwrite)
    if summary:
        verb.append_summary(checked, summary)
    print_report(checked.as_json(), [gate.as_json() for gate in checked.gates], COLUMNS, as_json)
    say(checked.summary())
    exit_unless(checked.holds)
