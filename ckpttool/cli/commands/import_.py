"""`ckpttool import`: weights of another framework, a draft of rules for them, and a check of the result."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ckpttool.cli.options.general import PATH, as_arguments, lenient_option, plan_option, rows_options, seed_option
from ckpttool.cli.options.reading import SOURCE, allow_op_option, models_first, rules_option
from ckpttool.cli.options.rows import preprocess_option
from ckpttool.cli.options.writing import model_output_options
from ckpttool.cli.process import configure_for
from ckpttool.cli.show.help import LongHelp
from ckpttool.cli.show.plans import execute
from ckpttool.cli.show.tables import exit_unless, print_rows, say
from ckpttool.cli.wall import behind_wall
from ckpttool.core.counts import counted
from ckpttool.core.tensors import TOLERANCE

if TYPE_CHECKING:
    from ckpttool.verbs.import_weights import ImportPlan
    from ckpttool.verbs.reference import Difference


@click.command("import", cls=LongHelp)
@click.argument("weights", type=SOURCE)
@click.option(
    "--into",
    metavar="MODEL",
    type=SOURCE,
    required=True,
    help="The graph (.meta or prefix) to fill, or a checkpoint without one.",
)
@models_first("weights", "into", "reference")
@rules_option
@click.option("--rename", metavar="RE=>NEW", multiple=True, help="A rule; may be repeated. Before those of --rules.")
@click.option("--scope", metavar="PREFIX", default="", help="Put every tensor below this prefix of the graph's names.")
@click.option("--suggest", is_flag=True, help="Write a draft of rules as OUT (.toml) instead, to read and edit.")
@click.option("--check", "reference", metavar="REFERENCE", type=PATH, help="Compare with what the source computed.")
@click.option("--tolerance", type=click.FloatRange(min=0), default=TOLERANCE, show_default=True, help="Of --check.")
@as_arguments(
    "how",
    lenient_option,
    click.option("--cast", is_flag=True, help="Let numbers change their dtype to the graph's."),
    click.option("--bake", is_flag=True, help="Also write the values into the .meta, as what its initialisers give."),
    preprocess_option,
)
@allow_op_option
@seed_option
@plan_option
@rows_options
@model_output_options
@behind_wall
def import_weights(
    weights: Path,
    into: Path,
    rules: Path | None,
    rename: tuple[str, ...],
    scope: str,
    suggest: bool,
    reference: Path | None,
    tolerance: float,
    how: Mapping[str, Any],
    allow_op: tuple[str, ...],
    seed: int,
    plan_only: bool,
    as_json: bool,
    output: Path,
    to: str | None,
    overwrite: bool,
) -> None:
    """Write weights of another framework into a graph's variables, as a model with a checkpoint.

    WEIGHTS is a PyTorch file (.pt, .pth, .bin), a .safetensors, an HDF5 file (any tree of datasets, or Keras 1, 2 or
    3), an .npz, or a checkpoint. A tensor becomes the variable of the same name; rules give other names and layouts,
    the first that matches wins, an empty NEW leaves a tensor out. Every tensor and every weight of the graph must find
    its counterpart, unless --lenient is given: then the other weights keep the model's values, or are initialised if
    MODEL is a graph without a checkpoint. A MODEL that is a checkpoint alone, as TensorFlow 2 and Keras 3 write it, is
    written again with other values; its object graph, optimizer and counters stay as they are.

    REFERENCE is arrays by name, such as an .npz: rows under the placeholders' names, and what the source framework
    computed under names of layers, ops or tensors. Each is compared; if one differs nothing is written and the exit
    code is 1, as it is if --suggest leaves something open.

    \b
    Example:
      ckpttool import bert.bin --into bert.meta --rules bert-pytorch-tf1 -o imported.ckpt
    """
    if suggest:
        if rules or rename or reference or scope:
            raise click.UsageError(
                "--suggest drafts rules for whole names: not with --rules, --rename, --scope or --check"
            )
        _draft_rules(weights, into, output, overwrite, as_json)
        return
    from ckpttool.verbs.import_weights import ImportPlan, plan_import
    from ckpttool.verbs.rules import rules_of

    plan = plan_import(
        weights,
        into,
        rules=rules_of(rename, rules),
        seed=seed,
        scope=scope,
        reference=reference,
        tolerance=tolerance,
        allow_op=allow_op,
        to=to,
        output=output,
        **how,
    )
    if reference and isinstance(plan, ImportPlan) and not plan_only:
        _write_proved(plan, output, overwrite, as_json)
        return
    execute(plan, output, overwrite, plan_only, as_json)
    if isinstance(plan, ImportPlan) and not plan_only:
        say("nothing was checked numerically: --check REFERENCE holds the model against what the source computed")


def _draft_rules(weights: Path, into: Path, output: Path, overwrite: bool, as_json: bool) -> None:
    """Write a draft of rules, print its rows, and say what is open; the answer is no where something is."""
    from ckpttool.verbs.rules import draft_rules, guessed_by_order

    draft = draft_rules(weights, into, output, overwrite)
    print_rows((pair.as_json() for pair in draft.pairs), ("from", "to", "transform", "confidence", "why"), as_json)
    for problem in draft.open:
        say(f"open: {problem}")
    if guessed := guessed_by_order(draft):
        why = "only the order tells"
        say(f"{why} {guessed} of the rules, which may be wrong: --check the import into a graph with a reference")
    left_out = f"{counted(len(draft.dropped), 'tensor')} dropped, {len(draft.open)} open"
    say(f"{output}: {counted(len(draft.pairs), 'rule')}, {left_out}; edit it")
    exit_unless(not draft.open)


def _write_proved(plan: "ImportPlan", output: Path, overwrite: bool, as_json: bool) -> None:
    """Write, and print how far each layer is from the reference; where one differs nothing is written: that is a no."""
    from ckpttool.verbs.import_proof import ReferenceDiffers

    def show(differences: "Sequence[Difference]") -> None:
        columns = ("name", "tensor", "shape", "max_abs", "relative", "equal")
        print_rows((difference.as_json() for difference in differences), columns)

    configure_for(plan.graph)
    proof = plan.proof if as_json or plan.proof is None else replace(plan.proof, shown=show)
    try:
        execute(replace(plan, proof=proof), output, overwrite, as_json=as_json)
    except ReferenceDiffers as error:
        for line in error.lines:
            say(line)
        say(f"{output}: nothing is written{' or replaced' if overwrite else ''}")
        exit_unless(False)
