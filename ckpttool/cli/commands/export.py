"""`ckpttool export`."""

from pathlib import Path

import click

from ckpttool.cli.options.general import lenient_option, plan_option, rows_options
from ckpttool.cli.options.reading import ENTRY_OR_PATH, model_argument, rules_option, weights_file_option
from ckpttool.cli.options.writing import output_options
from ckpttool.cli.show.plans import execute
from ckpttool.verbs.export_weights import plan_export
from ckpttool.verbs.rules import rules_of


def _needed(context: click.Context, option: click.Parameter, value: Path | None) -> Path:
    """Require `--like`: rules map the names of its file to those of the graph, and cannot be inverted."""
    if value is None:
        reason = "It has the names, shapes and dtypes of OUT, which rules alone do not determine"
        raise click.MissingParameter(reason, context, option)
    return value


@click.command()
@model_argument
@weights_file_option
@rules_option
@click.option(
    "--like",
    metavar="FILE",
    type=ENTRY_OR_PATH,
    callback=_needed,
    help="A file of the same network with the names, shapes and dtypes for OUT.",
)
@click.option("--scope", metavar="PREFIX", default="", help="The name scope in the graph that contains the network.")
@lenient_option
@click.option("--cast", is_flag=True, help="Cast to the dtypes of FILE.")
@plan_option
@rows_options
@output_options
def export(
    model: Path,
    rules: Path | None,
    like: Path,
    scope: str,
    lenient: bool,
    cast: bool,
    plan_only: bool,
    as_json: bool,
    output: Path,
    overwrite: bool,
) -> None:
    """Export a model's weights to another framework, with the same rules as `import`.

    FILE is a file of the other framework with the same network, such as the one that was imported. OUT gets its names,
    shapes and dtypes, and the values of the model; tensors that the rules drop keep the values of FILE. The suffix of
    OUT determines the format: .safetensors, .npz, .h5, or .weights.h5 if FILE was saved by Keras 3.

    \b
    Example:
      ckpttool export tuned.ckpt --rules bert-pytorch-tf1 --like bert.bin -o tuned.safetensors
    """
    plan = plan_export(model, like, rules_of([], rules), lenient, cast, scope)
    execute(plan, output, overwrite, plan_only, as_json)
