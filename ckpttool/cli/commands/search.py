"""`ckpttool search`: how many layers of a model to reuse, and how many of these to freeze."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ckpttool.cli.options.config import config_option
from ckpttool.cli.options.general import WRITTEN, rows_options
from ckpttool.cli.options.reading import allow_op_option, model_argument, spec, weights_file_option
from ckpttool.cli.options.rows import ROLES, data_option
from ckpttool.cli.options.searching import rows_option, search_options, tracker_option
from ckpttool.cli.options.training import trial_options
from ckpttool.cli.options.workers import Place, workers_options
from ckpttool.cli.options.writing import model_output_options
from ckpttool.cli.process import SignalInterrupt, open_to_run
from ckpttool.cli.show.help import LongHelp
from ckpttool.cli.show.plans import command_line
from ckpttool.cli.show.progress import ProgressPrinter
from ckpttool.cli.wall import behind_wall
from ckpttool.core.errors import PlanError
from ckpttool.training.options import Options

if TYPE_CHECKING:
    from ckpttool.verbs.search import SearchOptions


@click.command(cls=LongHelp)
@model_argument
@weights_file_option
@data_option
@click.option("--quick", is_flag=True, help="Score what the frozen layers give; nothing is trained.")
@click.option(
    "--head",
    metavar="SPEC",
    callback=spec,
    help="New layers for what is tried: 'hidden = dense(20, relu); out = dense(5)'.",
)
@search_options
@rows_option
@trial_options
@workers_options
@click.option("--report", metavar="FILE", type=WRITTEN, help="Write a page for a browser: .html.")
@click.option("--plot", metavar="FILE", type=WRITTEN, help="Draw accuracy by depths kept: a .png, .pdf or .svg.")
@tracker_option
@allow_op_option
@behind_wall
@config_option("model", *ROLES)
@rows_options
@model_output_options
def search(
    model: Path,
    data: Path,
    quick: bool,
    head: str | None,
    how: "SearchOptions",
    rows: list[int | None],
    options: Options,
    place: Place,
    report: Path | None,
    plot: Path | None,
    tracker: str | None,
    allow_op: tuple[str, ...],
    as_json: bool,
    output: Path | None,
    to: str | None,
    overwrite: bool,
) -> None:
    """Say how many layers of MODEL to keep for other rows, and how many of these to freeze.

    With --head it is tried: trials keep some layers, freeze some of them, and train the rest below the new layers, as
    reuse and finetune would; from scratch, too. All meet the same rows and seeds, so they are compared row by row.
    Recommended is what trains fewest layers and is not worse than the best by more than --rope, but for a probability
    of 5 %; it is told by rows that chose nothing, trained on all and written. Trials are kept in OUT.study: a search
    that is stopped (Ctrl-C) goes on with the same command.

    With --quick nothing is trained: for each depth at which MODEL can be cut it prints LogME (the evidence of a linear
    model by row), and the expected accuracy, which is the share of rows that ridge regression on all other rows gets
    right, with its 95 % interval; for amounts R squared. Depths are ranked by that; tied are those that may well be as
    good as the best. Depth 0 is the input. What has dimensions of space or time is scored by its mean over these, what
    is very wide folded into fewer numbers. At most 5000 rows are scored. They say nothing of layers that are trained.

    \b
    Example:
      ckpttool search my_model_final.ckpt --data mnist.npz --quick
      ckpttool search my_model_final.ckpt --data few.npz --head 'outputs = dense(5)' --report page.html -o best.ckpt
    """
    from ckpttool.cli.show.search import SearchPrinter, print_quick, print_search
    from ckpttool.training.callbacks.plot import Picture
    from ckpttool.verbs import search as verb
    from ckpttool.verbs import search_quick

    opened = open_to_run(model, allow_op, options.threads)
    if quick:
        print_quick(search_quick.search_quick(opened, data, options, ProgressPrinter(as_json)), model, data, as_json)
        return
    if head is None or output is None:
        raise PlanError("a search tries new layers: specify `head`, or `quick`, which needs none")
    picture = Picture(plot, overwrite=True) if plot else None
    with place.always(opened) as executor:
        found = verb.search_curve(
            opened,
            data,
            head,
            output,
            rows,
            options=options,
            how=how,
            overwrite=overwrite,
            callback=SearchPrinter(),
            executor=executor,
            interrupt=SignalInterrupt(),
            command=command_line(),
            to=to,
            tracker=tracker,
        )
    print_search(found, model, data, as_json, report, picture)
