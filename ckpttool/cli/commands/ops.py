"""`ckpttool ops`."""

from pathlib import Path

import click

from ckpttool.cli.options.general import rows_options
from ckpttool.cli.options.reading import PATTERN, model_argument, tags_option, weights_file_option
from ckpttool.cli.show.tables import print_rows
from ckpttool.verbs.ops import op_rows, type_rows


@click.command()
@model_argument
@weights_file_option
@click.option("--name", metavar="RE", help=f"Only ops of these names. {PATTERN}")
@click.option(
    "--type", "op_type", metavar="RE", help="Only ops of these types (the whole type must match): 'MatMul|BiasAdd'."
)
@click.option("--count", is_flag=True, help="Print the number of ops of each type.")
@click.option("--inputs", is_flag=True, help="Show the inputs of each op; JSON always has them.")
@click.option("--main", is_flag=True, help="Only the graph's own ops, without those of branches and loop bodies.")
@tags_option
@rows_options
def ops(
    model: Path,
    name: str | None,
    op_type: str | None,
    count: bool,
    inputs: bool,
    main: bool,
    tags: list[str] | None,
    as_json: bool,
) -> None:
    """List the ops of MODEL in graph order.

    MODEL is a .meta file or its checkpoint's prefix, a SavedModel folder, or a GraphDef. Function calls are
    shown inlined. The ops of branches and loop bodies follow the If or While op: 'while/body/MatMul'.

    \b
    Example:
      ckpttool ops my_model_final.ckpt --name dnn --type 'MatMul|Relu'
    """
    rows = op_rows(model, name, op_type, tags, main)
    if count:
        print_rows(type_rows(rows), ("type", "count"), as_json)
    else:
        print_rows(rows, ("name", "type", "inputs") if inputs else ("name", "type"), as_json)
