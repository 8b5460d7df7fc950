"""`ckpttool collections`."""

from pathlib import Path

import click

from ckpttool.cli.options.general import WRITTEN, plan_option, rows_options
from ckpttool.cli.options.reading import model_argument, tags_option, weights_file_option
from ckpttool.cli.options.writing import overwrite_option
from ckpttool.cli.show.plans import execute
from ckpttool.cli.show.tables import print_rows
from ckpttool.verbs.collections import collection_rows, plan_names

COLUMNS = ("name", "kind", "size", "items")


@click.command()
@model_argument
@weights_file_option
@click.argument("names", nargs=-1)
@click.option("--add", "key", metavar="KEY", help="Append NAMES (ops, or tensors as X:0) to this collection.")
@click.option("-o", "--output", metavar="OUT", type=WRITTEN, help="The .meta to write, with --add.")
@overwrite_option
@tags_option
@plan_option
@rows_options
def collections(
    model: Path,
    names: tuple[str, ...],
    key: str | None,
    output: Path | None,
    overwrite: bool,
    tags: list[str] | None,
    plan_only: bool,
    as_json: bool,
) -> None:
    """List the collections of MODEL, or add NAMES to one and write a new .meta.

    With --plan, the resulting collections are listed and nothing is written.

    \b
    Example:
      ckpttool collections my_model_final.ckpt
      ckpttool collections my_model_final.ckpt --add my_important_ops X:0 y:0 GradientDescent -o named.meta
    """
    if bool(names) != bool(key) or bool(names) != bool(output or plan_only):
        raise click.UsageError("--add KEY requires NAMES to add and -o OUT (or --plan), and these require --add")
    if key:
        execute(plan_names(model, key, names, tags), output, overwrite, plan_only, as_json)
    else:
        print_rows(collection_rows(model, tags), COLUMNS, as_json)
