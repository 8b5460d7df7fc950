"""`ckpttool merge`."""

from collections.abc import Sequence
from pathlib import Path

import click

from ckpttool.cli.options.general import MAX_SEED, PATH, lenient_option, plan_option, rows_options
from ckpttool.cli.options.reading import SOURCE, allow_op_option, checkpoints_argument, models_first, weights_option
from ckpttool.cli.options.rows import there_first
from ckpttool.cli.options.writing import edited_output_options, family_asked
from ckpttool.cli.show.help import LongHelp
from ckpttool.cli.show.plans import execute
from ckpttool.cli.show.tables import print_rows
from ckpttool.cli.wall import behind_wall
from ckpttool.model.checkpoint_plan import CheckpointPlan
from ckpttool.surgery.merge import Prefer
from ckpttool.surgery.merging.conflicts import COLUMNS as CONFLICT_COLUMNS
from ckpttool.verbs.merge import HOWS, merge_conflicts, plan_merge


@click.command(cls=LongHelp)
@checkpoints_argument
@click.option("--how", type=click.Choice(HOWS), default="union", show_default=True, help="The way to merge.")
@click.option("--prefer", type=click.Choice(["first", "last"]), help="Whose tensor it is that several have.")
@click.option(
    "--base", metavar="CKPT", type=SOURCE, help="What the models were trained from (task-arithmetic, ties, dare)."
)
@models_first("base")
@there_first("data")
@weights_option
@click.option("--t", type=float, metavar="T", help="How far to go from the first to the second (slerp)  [default: 0.5]")
@click.option(
    "--density", type=float, metavar="D", help="The part of what was learned that stays  [default: ties 0.2, dare 0.1]"
)
@click.option(
    "--scale", metavar="S|RE=S", multiple=True, help="How far to go along what was learned, of all or of some layers."
)
@click.option("--conflicts", is_flag=True, help="Show the layers in which the models disagree about what to change.")
@click.option("--seed", type=click.IntRange(0, MAX_SEED), help="The random seed (dare)  [default: 42]")
@click.option("--data", metavar="DATA", type=PATH, help="Rows that judge (soup, --alpha): their validation rows.")
@click.option("--alpha", metavar="A", help="Go from the first to the second: 0.5, 0.3,0.7, 0:1:0.1; the best is kept.")
@lenient_option
@plan_option
@rows_options
@edited_output_options
@allow_op_option
@behind_wall
def merge(
    checkpoints: tuple[Path, ...],
    how: str,
    prefer: Prefer | None,
    base: Path | None,
    weights: tuple[float, ...] | None,
    t: float | None,
    density: float | None,
    scale: tuple[str, ...],
    conflicts: bool,
    seed: int | None,
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

    A union has the tensors of all, and refuses two with the same name unless --prefer chooses one; an intersection has
    those that all have, with the values of the first. The other ways are for models of the same shapes: linear is the
    mean of their weights, whose --weights are divided by their sum; sum adds them as they are, such as a difference to
    a model (negative --weights subtract); slerp interpolates along the arc from one to the other; task-arithmetic, ties
    and dare add up the changes of each since --base: all, each times its weight (a negative one unlearns), the largest
    that agree in sign, or a random sample; --scale says how far to go along them. Tensors that are no
    weights are then those of the last, as with average; so are the graph, and the family that is written.

    Rows decide with --how soup, which takes the best model and then each other whose part in the mean does no harm,
    and with --alpha, for a start and what was tuned from it: of the weights between them those that do best.

    \b
    Example:
      ckpttool merge encoder.ckpt head.ckpt -o model.ckpt
      ckpttool merge base.safetensors delta.safetensors --how sum -o tuned.safetensors
      ckpttool merge tuned_a.ckpt tuned_b.ckpt --how ties --base my_model_final.ckpt -o both.ckpt
      ckpttool merge a.ckpt b.ckpt --how task-arithmetic --base base.ckpt --scale 0.3 --scale 'outputs=1' -o both.ckpt
      ckpttool merge a.ckpt b.ckpt --how ties --base base.ckpt --plan --conflicts
      ckpttool merge new_model.ckpt tuned.ckpt --alpha 0:1:0.1 --data mnist.npz -o between.ckpt
    """
    if conflicts:
        _show_conflicts(checkpoints, base, as_json)
        plan_only, as_json, output = False, False, None if plan_only else output
    scales = scale or None
    given = (how, prefer, base, weights, t, density, seed, lenient, family_asked(None), data, alpha, allow_op, scales)
    plan = plan_merge(checkpoints, output, *given)
    execute(plan, output, overwrite, plan_only, as_json, with_table=not isinstance(plan, CheckpointPlan))


def _show_conflicts(checkpoints: Sequence[Path], base: Path | None, as_json: bool) -> None:
    """Print where the models disagree."""
    if base is None:
        raise click.UsageError("--conflicts are of what was learned since --base", click.get_current_context())
    rows = [row.as_json() for row in merge_conflicts(checkpoints, base)]
    shown = [{**row, "distances": ", ".join(f"{each:.3g}" for each in row["distances"])} for row in rows]
    print_rows(rows if as_json else shown, CONFLICT_COLUMNS, as_json)
