"""`ckpttool import`: weights of another framework, draft rules for them, and the check against a reference."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ckpttool.cli.options.decorators import as_arguments
from ckpttool.cli.options.general import PATH, lenient_option, plan_option, rows_options, seed_option
from ckpttool.cli.options.reading import SOURCE, allow_op_option, models_first, rules_option
from ckpttool.cli.options.rows import preprocess_option
from ckpttool.cli.options.writing import model_output_options
from ckpttool.cli.process import configure_for
from ckpttool.cli.sandbox.running import running_confined
from ckpttool.cli.show.help import LongHelp
from ckpttool.cli.show.plans import execute
from ckpttool.cli.show.tables import exit_unless, print_rows, say
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
@click.option(
    "--rename", metavar="RE=>NEW", multiple=True, help="A rule; may be repeated. Takes precedence over --rules."
)
@click.option("--scope", metavar="PREFIX", default="", help="The name scope in the graph that contains the network.")
@click.option("--suggest", is_flag=True, help="Write draft rules to OUT (.toml) instead, for review.")
@click.option(
    "--check",
    "reference",
    metavar="REFERENCE",
    type=PATH,
    help="Compare with reference outputs of the source framework.",
)
@as_arguments(
    "how",
    click.option("--tolerance", type=click.FloatRange(min=0), default=TOLERANCE, show_default=True, help="Of --check."),
    lenient_option,
    click.option("--cast", is_flag=True, help="Cast to the dtypes of the graph."),
    click.option("--bake", is_flag=True, help="Also store the values in the .meta, as its initialisers."),
    preprocess_option,
    allow_op_option,
    seed_option,
)
@plan_option
@rows_options
@model_output_options
@running_confined
def import_weights(
    weights: Path,
    into: Path,
    rules: Path | None,
    rename: tuple[str, ...],
    scope: str,
    suggest: bool,
    reference: Path | None,
    how: Mapping[str, Any],
    plan_only: bool,
    as_json: bool,
    output: Path,
    to: str | None,
    overwrite: bool,
) -> None:
    """Import weights of another framework into the variables of a graph, and write a model.

    WEIGHTS is a PyTorch file (.pt, .pth, .bin), a .safetensors, an HDF5 file (any tree of datasets, or Keras 1, 2 or
    3), an .npz, or a checkpoint. By default a tensor becomes the variable of the same name. Rules specify other names
    and layouts; the first rule that matches is applied, and an empty NEW drops the tensor. Every tensor and every
    weight of the graph must have a counterpart, unless --lenient is specified: then the other weights keep the values
    of MODEL, or are newly initialised if MODEL has no checkpoint. If MODEL is a checkpoint without a graph (TensorFlow
    2 or Keras 3), its values are replaced; its object graph, optimizer and counters are kept.

    REFERENCE is a file of arrays, such as an .npz: inputs under the names of the placeholders, and outputs computed
    by the source framework under the names of layers, ops or tensors. Each is compared. If one differs, nothing is
    written and the exit code is 1. The exit code is also 1 if --suggest leaves a tensor undecided.

    \b
    Example:
      ckpttool import bert.bin --into bert.meta --rules bert-pytorch-tf1 -o imported.ckpt
    """
    if suggest:
        _draft_rules(weights, into, output, overwrite, as_json, any((rules, rename, scope, reference)))
        return
    from ckpttool.verbs.import_weights import ImportPlan, plan_import
    from ckpttool.verbs.rules import rules_of

    plan = plan_import(
        weights, into, rules=rules_of(rename, rules), scope=scope, reference=reference, to=to, output=output, **how
    )
    if reference and isinstance(plan, ImportPlan) and not plan_only:
        _write_proved(plan, output, overwrite, as_json)
        return
    execute(plan, output, overwrite, plan_only, as_json)
    if isinstance(plan, ImportPlan) and not plan_only:
        say("nothing was checked numerically: --check REFERENCE holds the model against what the source computed")


def _draft_rules(weights: Path, into: Path, output: Path, overwrite: bool, as_json: bool, has_rules: bool) -> None:
    """Write draft rules, print them, and list what is undecided; the exit code is 1 if anything is."""
    if has_rules:
        raise click.UsageError("--suggest drafts rules for whole names: not with --rules, --rename, --scope or --check")
    from ckpttool.verbs.rules import draft_rules, guessed_by_order

    draft = draft_rules(weights, into, output, overwrite)
    print_rows((pair.as_json() for pair in draft.pairs), ("from", "to", "transform", "confidence", "why"), as_json)
    for problem in draft.open:
        say(f"open: {problem}")
    if guessed := guessed_by_order(draft):
        why = "only the order decides"
        say(f"{why} {guessed} of the rules, which may be wrong: --check the import into a graph with a reference")
    left_out = f"{counted(len(draft.dropped), 'tensor')} dropped, {len(draft.open)} open"
    say(f"{output}: {counted(len(draft.pairs), 'rule')}, {left_out}; edit it")
    exit_unless(not draft.open)


def _write_proved(plan: "ImportPlan", output: Path, overwrite: bool, as_json: bool) -> None:
    """Write the model and print each layer's difference from the reference; if one is too large, exit with 1."""
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
