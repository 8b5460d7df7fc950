"""`ckpttool diff`."""

from pathlib import Path

import click

from ckpttool.cli.options.general import WRITTEN, rows_options
from ckpttool.cli.options.reading import SOURCE, layers_option, models_first, slots_option
from ckpttool.cli.options.writing import overwrite_option
from ckpttool.cli.sandbox.reading import reading_confined
from ckpttool.cli.show.plans import command_line
from ckpttool.cli.show.tables import exit_unless, print_report, say
from ckpttool.verbs.diff import compare


@click.command()
@click.argument("a", type=SOURCE)
@click.argument("b", type=SOURCE)
@models_first("a", "b")
@layers_option("Compare only the weights of these layers.")
@slots_option
@click.option("--by-layer", is_flag=True, help="Print layers instead of tensors, ranked by how much they changed.")
@click.option("--html", metavar="FILE", type=WRITTEN, help="Also write an HTML page, which works offline.")
@click.option("--spectra", is_flag=True, help="Compute all singular values of the change of each matrix.")
@click.option("--patch", is_flag=True, help="Write a binary patch from A to B to OUT, instead of comparing.")
@click.option("-o", "--output", metavar="OUT", type=WRITTEN, help="The patch to write.")
@overwrite_option
@rows_options
@reading_confined
def diff(
    a: Path,
    b: Path,
    layers: str | None,
    slots: bool,
    by_layer: bool,
    html: Path | None,
    spectra: bool,
    patch: bool,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Show which tensors differ between the checkpoints A and B, and by how much.

    Columns: the largest absolute difference of two elements (max_abs), also relative to the largest value in A
    (relative); the L2 norm of the difference relative to that of A (relative_l2); the cosine similarity; the
    number of elements that are NaN or infinite only in B; the number of rows and columns that are all zeros only in B
    (dead). Layers are ranked by relative_l2 of their weights. The exit code is 1 if something differs, else 0.

    A verdict summarises the change, such as "only the head moved" or "low rank: looks like an adapter of rank 8".
    It is based on a sketch of up to 12 changed matrices; with --html, of all. --spectra computes all singular values of
    each change: columns effective_rank and rank_99 (directions with 99 % of its squares), all values in --json, bars in
    --html. It takes some ten seconds for a matrix of 2,000 rows and columns, eight times as long for twice as many.

    With --patch, a file is written from which `ckpttool apply-patch` reproduces B exactly. Unchanged tensors take no
    space in it. The exit code is then 0.

    \b
    Example:
      ckpttool diff my_model_final.ckpt tuned.ckpt --html what_moved.html
      ckpttool diff my_model_final.ckpt tuned.ckpt --spectra --json
      ckpttool diff my_model_final.ckpt tuned.ckpt --patch -o tuned.patch
    """
    if patch or output:
        _require_patch_alone(patch, output, layers or slots or by_layer or html or spectra)
        _write(a, b, output, overwrite, as_json)
        return
    comparison = compare(a, b, layers, slots, say, html=html, overwrite=overwrite, with_values=spectra)
    rows, columns = comparison.rows(by_layer)
    print_report(comparison.as_json(), rows, columns, as_json)
    for line in comparison.lines():
        say(line)
    exit_unless(comparison.equal)


def _require_patch_alone(patch: bool, output: Path | None, others: object) -> None:
    """Check that a patch has an output, and is not combined with other options."""
    context = click.get_current_context()
    if not patch:
        raise click.UsageError("-o requires --patch", context)
    if output is None:
        raise click.UsageError("--patch requires -o OUT", context)
    if others:
        raise click.UsageError(
            "--patch contains all differences: it cannot be combined with options that select or show a part", context
        )


def _write(a: Path, b: Path, output: Path | None, overwrite: bool, as_json: bool) -> None:
    """Write a patch, and show what it changes."""
    assert output is not None, "`_require_patch_alone` requires it"
    from ckpttool.verbs.apply_patch import make_patch  # not needed to compare

    written = make_patch(a, b, output, overwrite, command_line())
    print_report(written.as_json(), written.rows, ("name", "difference", "packed"), as_json)
    say(written.summary())
