"""`ckpttool verify`."""

from pathlib import Path

import click

from ckpttool.cli.options.general import json_option
from ckpttool.cli.options.reading import SOURCE, checkpoint_argument, tags_option
from ckpttool.cli.show.tables import exit_unless, print_report, say
from ckpttool.verbs.verify import verdict


@click.command()
@checkpoint_argument
@click.option(
    "--unchanged",
    metavar="RE OTHER",
    type=(str, SOURCE),
    help="Also check that these tensors of the checkpoint OTHER have the same bytes in CKPT.",
)
@tags_option
@json_option
def verify(checkpoint: Path, unchanged: tuple[str, Path] | None, tags: list[str] | None, as_json: bool) -> None:
    """Check every checksum and every rule of CKPT's format, and name the tensors that are damaged.

    A graph beside the checkpoint is checked too; a graph without a checkpoint is checked alone. The exit code is 1 if
    something is damaged or has changed, else 0.

    \b
    Example:
      ckpttool verify tuned.ckpt --unchanged 'hidden[12]' my_model_final.ckpt
    """
    result = verdict(checkpoint, unchanged, tags)
    print_report(result.as_json(), result.rows, ("name", "problem"), as_json)
    say(result.summary())
    exit_unless(result.holds)
