"""`ckpttool log`."""

import shlex
from pathlib import Path

import click

from ckpttool.cli.options.general import json_option
from ckpttool.cli.options.reading import checkpoint_argument
from ckpttool.cli.sandbox.reading import reading_confined
from ckpttool.cli.show.tables import exit_unless, print_document, print_text, say
from ckpttool.core.errors import PlanError
from ckpttool.verbs.log import History

HOW = ("--to", "--shard-size", "--like")
"""Options of outputs, which are not part of a plan."""


@click.command()
@checkpoint_argument
@click.option(
    "--plan", "as_plan", is_flag=True, help="Print the plan (TOML) by which `ckpttool apply` makes CKPT again."
)
@json_option
@reading_confined
def log(checkpoint: Path, as_plan: bool, as_json: bool) -> None:
    """Show the history of CKPT: the commands that made it, oldest first, with their inputs and edits.

    Every output of ckpttool records its history: in the metadata of the file if its format has any (safetensors, HDF5),
    else in CKPT.lineage.json. A source is identified by the SHA-256 of its files; a TensorFlow checkpoint by
    that of its index, which has a checksum of every tensor. A source that was modified is shown as `changed since`, a
    missing one as `gone`. The exit code is 1 if there is no history.

    --plan prints the steps of edit, convert, merge, average, split, join and apply as one plan in TOML, with the hashes
    of its sources. An output of any other command becomes a source; if CKPT itself is one, that is an error (exit
    code 1).

    \b
    Example:
      ckpttool log tuned.ckpt
      ckpttool log merged.safetensors --plan > plan.toml
    """
    history = History.of(checkpoint)
    if not as_plan:
        print_document(history.as_json(), history.lines(), as_json)
        exit_unless(bool(history))
        return
    try:
        plan = history.plan()
    except PlanError as error:
        say(str(error))
        exit_unless(False)
        return
    if as_json:
        print_document(plan, (), as_json)
    else:
        print_text("\n".join([*history.plan_lines(f"{checkpoint} is made again by: {_again(history)}"), ""]))


def _again(history: History) -> str:
    """Return the command that executes the plan, with the output options of the last command."""
    arguments = history.chain.records[-1].arguments
    given = zip(arguments, [*arguments[1:], ""], strict=True)
    how = [word for option, value in given if option in HOW for word in (option, value)]
    graph = ["--no-graph"] if history.leaves_graph else []
    return shlex.join(["ckpttool", "apply", "plan.toml", *how, *graph, "-o", history.path.name])
