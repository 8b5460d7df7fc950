"""`ckpttool apply`."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.general import PATH, lenient_option, plan_option, rows_options
from ckpttool.cli.options.reading import SOURCE, models_first, note_sources
from ckpttool.cli.options.writing import edited_output_options, family_asked, format_options
from ckpttool.cli.show.plans import execute
from ckpttool.cli.show.tables import say
from ckpttool.core.errors import CkptError
from ckpttool.plans.script import Value
from ckpttool.verbs.apply import ApplyPlan, plan_apply, schema
from ckpttool.verbs.apply_each import FOLDER, NAME, matching, outputs_of, require_all


def _variables(_context: click.Context, _option: click.Parameter, texts: tuple[str, ...]) -> dict[str, Value]:
    """Read `NAME=VALUE`, where a value that is a number is one."""
    values: dict[str, Value] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE")
        values[name.strip()] = _number(value)
    return values


def _matching(_context: click.Context, _argument: click.Parameter, paths: tuple[Path, ...]) -> tuple[Path, ...]:
    return tuple(matching(paths))


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
@click.argument("sources", nargs=-1, metavar="SRC ...", type=SOURCE, callback=_matching)
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
    nothing is written. If OUT contains {name} or {folder}, the plan is applied to each SRC separately: all are planned
    before the first is written, and if one fails then, the others are written all the same.

    SRC may be a pattern in quotes, which takes checkpoints of several files once.

    \b
    Example:
      ckpttool apply plan.toml base.ckpt tuned.ckpt -o merged.safetensors
      ckpttool apply plan.toml 'runs/*.ckpt' -o 'small/{name}.safetensors'
    """
    plan = partial(
        _planned,
        plan_file,
        variables=variables,
        with_graph=with_graph,
        to=family_asked(to),
        lenient=lenient,
        like=like,
        shard_bytes=shard_bytes,
    )
    show = partial(execute, overwrite=overwrite, plan_only=plan_only, as_json=as_json, with_table=False)
    if output is None or not (NAME in str(output) or FOLDER in str(output)):
        show(plan(sources, output), output)
        return
    _for_each(plan, show, outputs_of(sources, output), None if plan_only else overwrite)


def _planned(*given: Any, **options: Any) -> ApplyPlan:
    """Return what `plan_apply` plans; sources that the plan file names are models that this command reads."""
    planned = plan_apply(*given, **options)
    note_sources(planned.sources)
    return planned


def _for_each(
    plan: Callable[..., ApplyPlan], show: Callable[..., None], outputs: dict[Path, Path], overwrite: bool | None
) -> None:
    """Apply a plan to each source: all are planned before the first is written; then a failure does not stop others."""
    for source, place in outputs.items():
        try:
            planned = plan([source], place)
            if overwrite is not None:
                planned.check(place, overwrite)
        except CkptError as error:
            raise type(error)(f"{source}: {error}") from error
    failed: list[Path] = []
    for source, place in outputs.items():
        try:
            show(plan([source], place), place)
        except CkptError as error:
            say(f"{source}: {error}")
            failed.append(place)
    require_all(failed, list(outputs.values()))
