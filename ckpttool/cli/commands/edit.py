"""`ckpttool edit`: a checkpoint with other names, shapes, dtypes and values."""

from functools import partial
from pathlib import Path

import click

from ckpttool import checkpoint
from ckpttool.cli.options.edits import EditCommand, edit_options
from ckpttool.cli.options.general import lenient_option, plan_option, rows_options, seed_option
from ckpttool.cli.options.reading import slots_option, source_argument
from ckpttool.cli.options.writing import edited_output_options, family_asked, format_of, format_options
from ckpttool.cli.show.plans import execute
from ckpttool.surgery.edits.steps import Step
from ckpttool.verbs.edit import format_to_write, plan_edit


@click.command(cls=EditCommand)
@source_argument
@edit_options
@slots_option
@click.option("--allow-truncate", is_flag=True, help="Allow --resize to truncate.")
@seed_option
@click.option("--no-graph", "with_graph", flag_value=False, default=True, help="Do not write the graph of SRC.")
@format_options
@lenient_option
@plan_option
@rows_options
@edited_output_options
def edit(
    source: Path,
    steps: list[Step],
    slots: bool,
    allow_truncate: bool,
    seed: int,
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
    """Edit the checkpoint SRC and write the result. Edits are applied in the order of the options.

    Patterns select weights; with --slots also the optimizer's tensors. The slots of a variable are kept, dropped,
    renamed and reshaped with it. An edit that selects nothing is an error. The graph of SRC is edited too (variables,
    assign nodes, Saver, collections and shapes), so that TensorFlow can import and restore the result. The output is
    of the same kind as SRC, a prefix with its .meta or a SavedModel, unless OUT (x.ckpt, x/) or --to specifies another.

    \b
    Example:
      ckpttool edit my_model_final.ckpt --rename 'hidden(\\d)=>fc\\1' --cast bfloat16 -o small.ckpt
      ckpttool edit bert.ckpt --resize 'embeddings = to(32000, axis=0, fill=mean)' -o grown.ckpt
    """
    opened = checkpoint.open(source)
    target = format_of(output or opened.path, family_asked(to), like, partial(format_to_write, opened, with_graph))
    plan = plan_edit(
        opened,
        steps,
        to=target,
        slots=slots,
        allow_truncate=allow_truncate,
        seed=seed,
        with_graph=with_graph,
        lenient=lenient,
        like=like,
        shard_bytes=shard_bytes,
    )
    execute(plan, output, overwrite, plan_only, as_json, with_table=False)
