"""`ckpttool apply`."""

import json
from pathlib import Path

import click

from ckpttool.cli.options.general import PATH, lenient_option, plan_option, rows_options
from ckpttool.cli.options.reading import SOURCE, models_first
from ckpttool.cli.options.writing import edited_output_options, family_asked, format_options
from ckpttool.cli.show.plans import execute
from ckpttool.plans.script import Value
from ckpttool.verbs.apply import plan_apply, schema

EACH = "{name}"
"""What stands in an output for the name of each source, of which each has its own then."""


def _variables(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> dict[str, Value]:
    """Read `NAME=VALUE`, where a value that is a number is one."""
    values: dict[str, Value] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE")
        values[name.strip()] = _number(value)
    return values


def _number(text: str) -> Value:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return text


def _print_schema(context: click.Context, _option: click.Parameter, asked: bool) -> None:
    if asked:
        click.echo(json.dumps(schema(), indent=2))
        context.exit()


@click.command("apply")
@click.argument("plan_file", metavar="PLAN", type=PATH)
@click.argument("sources", nargs=-1, metavar="SRC ...", type=SOURCE)
@models_first("sources")
@click.option(
    "--set", "variables", metavar="NAME=VALUE", multiple=True, callback=_variables, help="A variable of the plan."
)
@click.option("--no-graph", "with_graph", flag_value=False, default=True, help="Do not write the graph of SRC.")
@click.option(
    "--schema",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_schema,
    help="Print the JSON Schema of plans, for completion and validation in editors, and stop.",
)
@format_options
@lenient_option
@plan_option
@rows_options
@edited_output_options
def apply(
    plan_file: Path,
    sources: tuple[Path, ...],
    variables: dict[str, Value],
    with_graph: bool,
    to: str | None,
    shard_bytes: int | None,
    like: Path | None,
    lenient: bool,
    plan_only: bool,
    as_json: bool,
    output: Path | None,
    overwrite: bool,
) -> None:
    """Carry out the steps of PLAN, a TOML file, on the checkpoints SRC in one pass.

    A step is an edit (as in `ckpttool edit`), a merge, an average, a conversion `like` another source, or an assertion
    on names, shapes, dtypes and values. A failed assertion is an error that names the tensor and the numbers, and
    nothing is written. If OUT contains {name}, the plan is applied to each SRC separately.

    \b
    Example:
      ckpttool apply plan.toml base.ckpt tuned.ckpt -o merged.safetensors
      ckpttool apply plan.toml 'runs/step-1000' 'runs/step-2000' -o 'small/{name}.safetensors'
    """
    runs = [((source,), output) for source in sources] if EACH in str(output) else [(sources, output)]
    for some, place in runs:
        target = Path(str(place).replace(EACH, some[0].name.split(".")[0])) if place and EACH in str(place) else place
        planned = plan_apply(
            plan_file, some, target, variables, with_graph, family_asked(to), lenient, like, shard_bytes
        )
        execute(planned, target, overwrite, plan_only, as_json, with_table=False)
