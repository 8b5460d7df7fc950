"""`ckpttool verify`."""

from pathlib import Path

import click

from ckpttool.cli.confined_reading import reading_confined
from ckpttool.cli.options.general import rows_options
from ckpttool.cli.options.reading import SOURCE, checkpoint_argument, tags_option
from ckpttool.cli.show.tables import exit_unless, print_report, say
from ckpttool.verbs.verify import told_by, verdict


@click.command()
@checkpoint_argument
@click.option(
    "--unchanged",
    metavar="RE OTHER",
    type=(str, SOURCE),
    help="Also check that these tensors of the checkpoint OTHER have the same bytes in CKPT.",
)
@click.option(
    "--against",
    metavar="LINEAGE|SHA256|zoo:N",
    callback=lambda _context, _option, value: value and told_by(value),
    help="Also check that CKPT is the file that a hash tells of (as sha256sum or `log` shows it), or a lineage.",
)
@tags_option
@rows_options
@reading_confined
def verify(
    checkpoint: Path, unchanged: tuple[str, Path] | None, against: str | None, tags: list[str] | None, as_json: bool
) -> None:
    """Check every checksum and every rule of CKPT's format, and name the tensors that are damaged.

    Formats without checksums (safetensors, HDF5 ...) have their structure checked alone: --against tells more. A graph
    beside the checkpoint is checked too; a graph without a checkpoint is checked alone. The exit code is 1 if
    something is damaged or has changed, else 0.

    \b
    Example:
      ckpttool verify tuned.ckpt --unchanged 'hidden[12]' my_model_final.ckpt
      ckpttool verify tuned.safetensors --against tuned.ckpt.lineage.json
    """
    result = verdict(checkpoint, unchanged, tags, against)
    print_report(result.as_json(), result.rows, ("name", "problem"), as_json)
    say(result.summary())
    exit_unless(result.holds)
