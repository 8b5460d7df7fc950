"""`ckpttool salvage`: the readable tensors of a damaged checkpoint."""

from pathlib import Path

import click

from ckpttool.cli.options.general import plan_option, rows_options
from ckpttool.cli.options.reading import checkpoint_argument
from ckpttool.cli.options.writing import output_options
from ckpttool.cli.sandbox.reading import reading_confined
from ckpttool.cli.show.plans import command_line
from ckpttool.cli.show.tables import exit_unless, print_report, say
from ckpttool.verbs.salvage import plan_salvage


@click.command()
@checkpoint_argument
@click.option("--to", metavar="FORMAT", help="The output format, if the suffix of OUT does not determine it.")
@plan_option
@rows_options
@output_options
@reading_confined
def salvage(
    checkpoint: Path, to: str | None, plan_only: bool, as_json: bool, output: Path | None, overwrite: bool
) -> None:
    """Recover the readable tensors of the damaged checkpoint CKPT, and list what is lost and why.

    Every tensor is read and checked. The exit code is 0 if nothing is lost, 1 if something is lost, and 2
    if nothing can be read; then nothing is written.

    \b
    Example:
      ckpttool salvage broken.ckpt -o saved.ckpt
    """
    plan = plan_salvage(checkpoint, output, to)
    written = None if plan_only else output
    if written is not None:
        plan.write(written, overwrite, command_line())
    print_report(plan.as_json(), plan.rows, ("name", "problem"), as_json)
    say(plan.summary(written))
    exit_unless(plan.whole)
