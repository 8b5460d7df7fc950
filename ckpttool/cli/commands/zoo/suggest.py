"""`ckpttool zoo suggest`."""

import shlex
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.catalogue import zoo_option
from ckpttool.cli.options.general import PATH, row_shape, rows_options
from ckpttool.cli.options.reading import SOURCE, note_sources
from ckpttool.cli.process import open_to_run
from ckpttool.cli.sandbox.running import running_confined
from ckpttool.cli.show.tables import print_rows, say
from ckpttool.core.errors import PlanError
from ckpttool.verbs.zoo_suggest import CLASSES, MOST, Suggestion, with_scores, zoo_suggest

COLUMNS = ("entry", "family", "fits", "takes", "why")
SCORED = ("entry", "family", "score", "logme", "why")


@click.command()
@click.option(
    "--for", "other", metavar="MODEL", type=SOURCE, help="Suggest entries with the same lower layers as this network."
)
@click.option("--input", "shape", metavar="SHAPE", callback=row_shape, help="The shape of one example: 784, 28x28x1.")
@click.option("--data", metavar="DATA", type=PATH, help="Labelled data: rank by the score of the frozen features.")
@click.option(
    "--most", metavar="N", type=click.IntRange(1), default=MOST, show_default=True, help="Maximum number of entries."
)
@click.option("--trust", is_flag=True, help="Trust the graphs: run them without limits on files, memory and network.")
@zoo_option
@rows_options
def suggest(
    other: Path | None,
    shape: tuple[int, ...] | None,
    data: Path | None,
    most: int,
    trust: bool,
    root: Path | None,
    as_json: bool,
) -> None:
    """Suggest entries of the catalogue to reuse, with the reasons and a command.

    With --for MODEL, entries are ranked by the number of layers, from the bottom, that have the same kinds and shapes
    as in MODEL. With --input, entries are listed that accept inputs of this shape: with all layers below the outputs,
    or those whose weights do not depend on the image size. Only the latest revision of each entry is considered.

    With --data, the entries that fit best are ranked by the score of their frozen features on this data, as computed by
    search --quick: the expected accuracy of a linear classifier, and LogME. Nothing is trained.

    \b
    Example:
      ckpttool zoo suggest --input 28x28x1
      ckpttool zoo suggest --for my_model_final.ckpt --data mnist.npz
    """
    if other is None and shape is None:
        raise PlanError("specify `other`, a model, or `shape`, that of an example")
    found = zoo_suggest(other, shape, root, most)
    if data is not None and found:
        found = _scored(found, data, trust)
    print_rows(
        [{**each.as_json(), "command": command_of(each)} if as_json else _shown(each) for each in found],
        SCORED if data else COLUMNS,
        as_json,
    )
    for line in () if as_json else _said(found, data is not None):
        say(line)


def _scored(found: list[Suggestion], data: Path, trust: bool) -> list[Suggestion]:
    """Return suggestions with scores on data, computed in a sandbox that may read the entries and the data."""
    context, models = click.get_current_context(), tuple(each.path for each in found)
    note_sources(models)
    context.params["models"] = models
    scored: list[Suggestion] = _scored_confined(trust=trust, data=data, found=found)
    return scored


@running_confined
def _scored_confined(found: list[Suggestion], data: Path) -> list[Suggestion]:
    return with_scores(found, data, open_to_run)


def _shown(each: Suggestion) -> dict[str, Any]:
    """Return the cells of a suggestion for the table."""
    return {**each.as_json(), "fits": f"{each.layers} of {each.of}", "why": each.problem or each.why}


def _said(found: list[Suggestion], has_rows: bool) -> list[str]:
    """Return the lines below the table: the commands."""
    if not found:
        return ["no entry fits; `ckpttool zoo list` lists all entries"]
    stands = not has_rows and any(f"dense({CLASSES})" in each.reuse.get("head", "") for each in found)
    counts = [f"{CLASSES} stands for the number of your classes"] if stands else []
    return [*(shlex.join(command_of(each)) for each in found if each.score is not None or not has_rows), *counts]


def command_of(each: Suggestion) -> list[str]:
    """Return the command that reuses an entry, as a list of arguments."""
    options = [word for key, value in each.reuse.items() for word in (f"--{key}", value)]
    return ["ckpttool", "reuse", each.source, *options, "-o", each.output]
