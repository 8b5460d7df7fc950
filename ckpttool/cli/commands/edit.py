"""`ckpttool edit`: a checkpoint with other names, shapes, dtypes and values."""

from pathlib import Path
from typing import Any

import click

from ckpttool import checkpoint
from ckpttool.cli.options import shared
from ckpttool.cli.options.in_order import InOrder, edit_options, steps
from ckpttool.cli.options.writing import format_of, in_any_format
from ckpttool.cli.show.plans import execute
from ckpttool.verbs.edit import plan_edit


@click.command(cls=InOrder)
@shared.source
@edit_options
@shared.slots
@click.option("--allow-truncate", is_flag=True, help="Let --resize discard what is beyond a smaller size.")
@shared.seed
@click.option("--no-graph", "with_graph", flag_value=False, default=True, help="Leave the .meta beside SRC behind.")
@in_any_format
@shared.lenient
@shared.plan
@shared.as_json
@shared.writes
def edit(
    source: Path,
    edits: list[tuple[str, str]],
    to: str | None,
    shard_bytes: int | None,
    like: Path | None,
    plan_only: bool,
    as_json: bool,
    output: Path | None,
    overwrite: bool,
    **settings: Any,
) -> None:
    """Write the checkpoint SRC edited: edits are applied in the order in which they are given.

    Patterns take weights; --slots lets them take the optimizer's tensors too. The slots of a variable go along with
    it: kept, dropped, renamed, and in another shape. An edit that takes nothing is an error. The .meta beside SRC
    follows: variables, assign nodes, Saver, collections and shapes; TensorFlow imports and restores the pair.

    \b
    Example:
      ckpttool edit my_model_final.ckpt --rename 'hidden(\\d)=>fc\\1' --cast bfloat16 -o small.ckpt
      ckpttool edit bert.ckpt --resize 'embeddings = to(32000, axis=0, fill=mean)' -o grown.ckpt
    """
    opened = checkpoint.open(source)
    target = format_of(output or opened.path, to, like)
    plan = plan_edit(opened, steps(edits), target, like=like, shard_bytes=shard_bytes, **settings)
    execute(plan, output, overwrite, plan_only, as_json, with_table=False)
