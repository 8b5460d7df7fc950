"""`ckpttool merge`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import click

from ckpttool.cli.options.decorators import as_arguments
from ckpttool.cli.options.general import MAX_SEED, PATH, lenient_option, plan_option, rows_options
from ckpttool.cli.options.reading import SOURCE, allow_op_option, checkpoints_argument, models_first, weights_option
from ckpttool.cli.options.rows import there_first
from ckpttool.cli.options.writing import edited_output_options, family_asked
from ckpttool.cli.sandbox.running import running_confined
from ckpttool.cli.show.help import LongHelp
from ckpttool.cli.show.plans import execute
from ckpttool.cli.show.tables import print_rows
from ckpttool.model.checkpoint_plan import CheckpointPlan
from ckpttool.surgery.merging.alignment import Tokens
from ckpttool.surgery.merging.conflicts import COLUMNS as CONFLICT_COLUMNS
from ckpttool.verbs.merge import HOWS, merge_conflicts, plan_merge

parameter_options = as_arguments(
    "parameters",
    click.option(
        "--prefer",
        type=click.Choice(["first", "last"]),
        help="Which tensor to take if several checkpoints have the name.",
    ),
    weights_option,
    click.option(
        "--t",
        type=float,
        metavar="T",
        help="The interpolation factor from the first to the second (slerp), or how far to move (nearswap)  "
        "[default: 0.5, 0.0001]",
    ),
    click.option(
        "--density",
        type=float,
        metavar="D",
        help="The fraction of each task vector to keep  [default: ties 0.2, dare 0.1, della 0.5, breadcrumbs 0.9, "
        "sce 1]",
    ),
    click.option(
        "--epsilon",
        type=float,
        metavar="E",
        help="How much more of the largest and less of the smallest elements to keep than D (della), or the largest "
        "change that is none (ram)  [default: 0.15, 0.00001]",
    ),
    click.option(
        "--gamma",
        type=float,
        metavar="G",
        help="The fraction of each task vector to drop as outliers (breadcrumbs)  [default: 0.01]",
    ),
    click.option(
        "--scale", metavar="S|RE=S", multiple=True, help="The factor of the task vectors, for all or some layers."
    ),
    click.option(
        "--vocab",
        metavar="TOKENS",
        multiple=True,
        type=PATH,
        help="The vocabulary of each model in turn, then of --base: tokenizer.json, vocab.json, vocab.txt or their "
        "folder.",
    ),
    click.option(
        "--tokens", type=click.Choice(get_args(Tokens)), help="Whose tokens the result has (--vocab)  [default: all]"
    ),
    click.option(
        "--token-row",
        "token_rows",
        metavar="TOKEN=MODEL",
        multiple=True,
        help="Whose row a token gets: '<pad>=1', the first model's, or '<pad>=base' (--vocab).",
    ),
    click.option(
        "--vocab-tensors",
        metavar="RE[, axis=N]",
        multiple=True,
        help="Tensors with a row per token, if not found by size.",
    ),
    click.option("--seed", type=click.IntRange(0, MAX_SEED), help="The random seed (dare, della)  [default: 42]"),
)
"""The options that are parameters of a merge method."""


@click.command(cls=LongHelp)
@checkpoints_argument
@click.option(
    "--how",
    metavar="METHOD",
    type=click.Choice(HOWS),
    default="union",
    show_default=True,
    help=f"How to merge them: {', '.join(HOWS)}.",
)
@click.option("--base", metavar="CKPT", type=SOURCE, help="The common base model (for methods with task vectors).")
@models_first("base")
@there_first("data")
@parameter_options
@click.option("--conflicts", is_flag=True, help="Show the layers in which the task vectors conflict.")
@click.option("--data", metavar="DATA", type=PATH, help="Data whose validation set selects the result (soup, --alpha).")
@click.option(
    "--alpha",
    metavar="A",
    help="Interpolate from the first to the second: 0.5, 0.3,0.7 or 0:1:0.1; the best is written.",
)
@lenient_option
@plan_option
@rows_options
@edited_output_options
@allow_op_option
@running_confined
def merge(
    checkpoints: tuple[Path, ...],
    how: str,
    base: Path | None,
    parameters: Mapping[str, Any],
    conflicts: bool,
    data: Path | None,
    alpha: str | None,
    lenient: bool,
    plan_only: bool,
    as_json: bool,
    output: Path | None,
    overwrite: bool,
    allow_op: tuple[str, ...],
) -> None:
    """Merge checkpoints into one.

    union has the tensors of all checkpoints; a name in two of them is an error unless --prefer selects one.
    intersection has the names that all of them have, with the values of the first. The other methods require equal
    shapes: linear is the weighted mean (--weights are normalised); sum is the weighted sum, for example of a model and
    a difference (negative --weights subtract); slerp is spherical linear interpolation of two. task-arithmetic, ties
    and dare add task vectors (the differences from --base): all, with weights (a negative one unlearns the task); the
    largest elements that agree in sign; or a random sample. della samples small elements less often, breadcrumbs adds
    those without outliers and small elements; dare-ties, della and breadcrumbs-ties add what agrees in sign.
    model-stock goes to their mean as far as they agree, nuslerp interpolates two of them on their arc. sce
    weights them by their sizes where models differ most, ram adds what one model changed and the mean of what several
    did. karcher is the mean of directions at the mean norm; arcee-fusion and nearswap take elements of the second model
    into the first: the important ones, or those that are near. --scale is the factor of the task vectors. Tensors that
    are not weights, the graph and the kind of the output are those of the last checkpoint, as for average.

    Models with different vocabularies need a --vocab each: embeddings and output layers (the tensors with a dimension
    of the vocabulary's size) are merged token by token. A token that a model lacks has there the row of --base, or the
    mean of the models that have it; --token-row selects a model for a token. New tokens follow those of the last model,
    and OUT.vocab.json lists all.

    --how soup and --alpha evaluate on --data. soup is a greedy model soup: it starts with the best model, and adds each
    other one that does not decrease the accuracy of the mean. --alpha writes the best interpolation of a base model
    and a fine-tuned one.

    \b
    Example:
      ckpttool merge encoder.ckpt head.ckpt -o model.ckpt
      ckpttool merge base.safetensors delta.safetensors --how sum -o tuned.safetensors
      ckpttool merge tuned_a.ckpt tuned_b.ckpt --how ties --base my_model_final.ckpt -o both.ckpt
      ckpttool merge a.ckpt b.ckpt --how task-arithmetic --base base.ckpt --scale 0.3 --scale 'outputs=1' -o both.ckpt
      ckpttool merge a.ckpt b.ckpt --how ties --base base.ckpt --plan --conflicts
      ckpttool merge a.ckpt b.ckpt --how della --base base.ckpt --density 0.4 --epsilon 0.2 -o both.ckpt
      ckpttool merge base.ckpt tuned.ckpt --how arcee-fusion -o fused.ckpt
      ckpttool merge a.ckpt b.ckpt --how linear --vocab a/vocab.txt --vocab b/vocab.txt -o both.ckpt
      ckpttool merge a.ckpt b.ckpt --how linear --vocab a --vocab b --token-row '<pad>=1' -o both.ckpt
      ckpttool merge new_model.ckpt tuned.ckpt --alpha 0:1:0.1 --data mnist.npz -o between.ckpt
    """
    if conflicts:
        _show_conflicts(checkpoints, base, as_json)
        plan_only, as_json, output = False, False, None if plan_only else output
    plan = plan_merge(
        checkpoints,
        output,
        how,
        base=base,
        data=data,
        alpha=alpha,
        allow_op=allow_op,
        lenient=lenient,
        to=family_asked(None),
        **parameters,
    )
    execute(plan, output, overwrite, plan_only, as_json, with_table=not isinstance(plan, CheckpointPlan))


def _show_conflicts(checkpoints: Sequence[Path], base: Path | None, as_json: bool) -> None:
    """Print the layers in which the task vectors conflict."""
    if base is None:
        raise click.UsageError("--conflicts are of what was learned since --base", click.get_current_context())
    rows = [row.as_json() for row in merge_conflicts(checkpoints, base)]
    shown = [{**row, "distances": ", ".join(f"{each:.3g}" for each in row["distances"])} for row in rows]
    print_rows(rows if as_json else shown, CONFLICT_COLUMNS, as_json)
