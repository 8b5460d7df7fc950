"""`ckpttool zoo suggest`."""

import shlex
from pathlib import Path
from typing import Any

import click

from ckpttool.cli.options.catalogue import zoo_option
from ckpttool.cli.options.general import PATH, row_shape, rows_options
from ckpttool.cli.options.reading import SOURCE
from ckpttool.cli.show.tables import print_rows, say
from ckpttool.core.errors import PlanError
from ckpttool.verbs.zoo_suggest import CLASSES, MOST, Suggestion, zoo_suggest

COLUMNS = ("entry", "family", "fits", "takes", "why")
SCORED = ("entry", "family", "score", "logme", "why")


@click.command()
@click.option("--for", "other", metavar="MODEL", type=SOURCE, help="A network whose lower layers entries may have.")
@click.option("--input", "shape", metavar="SHAPE", callback=row_shape, help="The shape of one row: 784, 28x28x1.")
@click.option("--data", metavar="DATA", type=PATH, help="Rows with labels: rank by what frozen layers give for them.")
@click.option("--most", metavar="N", type=click.IntRange(1), default=MOST, show_default=True, help="Entries at most.")
@click.option("--trust", is_flag=True, help="Run graphs as your own, without limits on files, memory and networks.")
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
    """Say which entries of the catalogue are worth reusing, why, and by which command.

    With --for MODEL entries are ranked by how many layers, from the bottom, are of the kinds and shapes that MODEL has
    there. With --input they are those that take such rows: all layers below their outputs fit, or those whose weights
    do not depend on the size of images. The latest revision of each counts.

    With --data the entries that fit best are opened, and ranked by the score of their frozen layers on these rows, as
    search --quick computes it: the expected accuracy of a linear layer, and LogME. Nothing is trained.

    \b
    Example:
      ckpttool zoo suggest --input 28x28x1
      ckpttool zoo suggest --for my_model_final.ckpt --data mnist.npz
    """
    if other is None and shape is None:
        raise PlanError("say what entries are to fit: `other`, a model, or `shape`, that of a row")
    found = zoo_suggest(other, shape, root, most)
    if data is not None and found:
        from ckpttool.cli.scored_entries import scored  # TensorFlow runs

        found = scored(trust=trust, data=data, found=found)
    print_rows(
        [{**each.as_json(), "command": command_of(each)} if as_json else _shown(each) for each in found],
        SCORED if data else COLUMNS,
        as_json,
    )
    for line in () if as_json else _said(found, data is not None):
        say(line)


def _shown(each: Suggestion) -> dict[str, Any]:
    """Return a suggestion as people read it."""
    return {**each.as_json(), "fits": f"{each.layers} of {each.of}", "why": each.problem or each.why}


def _said(found: list[Suggestion], has_rows: bool) -> list[str]:
    """Return what is said below the table: the commands."""
    if not found:
        return ["no entry fits; `ckpttool zoo list` shows what there is"]
    stands = not has_rows and any(f"dense({CLASSES})" in each.reuse.get("head", "") for each in found)
    counts = [f"{CLASSES} stands for the number of your classes"] if stands else []
    return [*(shlex.join(command_of(each)) for each in found if each.score is not None or not has_rows), *counts]


def command_of(each: Suggestion) -> list[str]:
    """Return the words of the command that reuses an entry."""
    options = [word for key, value in each.reuse.items() for word in (f"--{key}", value)]
    return ["ckpttool", "reuse", each.source, *options, "-o", each.output]
