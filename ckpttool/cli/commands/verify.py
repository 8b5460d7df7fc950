"""`ckpttool verify`."""

from pathlib import Path

import click

from ckpttool.cli.options.general import rows_options
from ckpttool.cli.options.reading import SOURCE, checkpoint_argument, tags_option
from ckpttool.cli.sandbox.reading import reading_confined
from ckpttool.cli.show.tables import exit_unless, print_report, say
from ckpttool.verbs.verify import verdict, without_catalogue


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
    callback=lambda _context, _option, value: value and without_catalogue(value),
    help="Also check CKPT against a hash (as printed by sha256sum or `log`), a lineage file or an entry.",
)
@tags_option
@rows_options
@reading_confined
def verify(
    checkpoint: Path, unchanged: tuple[str, Path] | None, against: str | None, tags: list[str] | None, as_json: bool
) -> None:
    """Check every checksum and every rule of CKPT's format, and name the tensors that are damaged.

    For formats without checksums (safetensors, HDF5, ...) only the structure can be checked; use --against to check the
    bytes. The graph of the checkpoint is checked too, as is a graph without a checkpoint. The exit code is 1 if
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
