"""`ckpttool search`: how many layers of a model to reuse, and how many of these to freeze."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from ckpttool.cli.options.config import config_option
from ckpttool.cli.options.general import WRITTEN, rows_options
from ckpttool.cli.options.reading import allow_op_option, model_argument, spec, weights_file_option
from ckpttool.cli.options.rows import ROLES, data_option
from ckpttool.cli.options.searching import refuse_with_quick, rows_option, search_options, tracker_option
from ckpttool.cli.options.training import trial_options
from ckpttool.cli.options.workers import Place, workers_options
from ckpttool.cli.options.writing import model_output_options
from ckpttool.cli.process import SignalInterrupt, open_to_run
from ckpttool.cli.sandbox.running import running_confined
from ckpttool.cli.show.help import LongHelp
from ckpttool.cli.show.plans import command_line
from ckpttool.cli.show.progress import ProgressPrinter
from ckpttool.core.errors import PlanError
from ckpttool.training.options import Options

if TYPE_CHECKING:
    from ckpttool.verbs.search import SearchOptions


@click.command(cls=LongHelp)
@model_argument
@weights_file_option
@data_option
@click.option("--quick", is_flag=True, help="Score the features of each depth without training.")
@click.option(
    "--head",
    metavar="SPEC",
    callback=spec,
    help="New layers for the trials: 'hidden = dense(20, relu); out = dense(5)'.",
)
@search_options
@rows_option
@trial_options
@workers_options
@click.option("--report", metavar="FILE", type=WRITTEN, help="Write an HTML page.")
@click.option(
    "--plot", metavar="FILE", type=WRITTEN, help="Plot accuracy by number of depths kept: a .png, .pdf or .svg."
)
@tracker_option
@allow_op_option
@running_confined
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
    """Find how many layers of MODEL to reuse on other data, and how many of these to freeze.

    With --head it runs trials. Each keeps some layers, freezes some of these, and trains the rest and the new layers,
    as reuse and finetune do; some train from scratch. All trials use the same examples and random seeds, so they are
    compared example by example. The recommendation is the configuration with the fewest trained layers that is at most
    --rope worse than the best, with a probability of 95 %. Its accuracy is estimated on examples that were not used to
    choose it; then it is trained on all examples and written. Trials are saved in OUT.study: the same command resumes
    a search that was stopped (Ctrl-C).

    With --quick nothing is trained. For each depth at which MODEL can be cut it prints LogME (the evidence per example
    of a linear model), and the expected accuracy: the leave-one-out accuracy of ridge regression with its 95 %
    interval; for regression, R squared. Depths are ranked by it; depths that are not significantly worse than the best
    are tied. Depth 0 is the input. Features with dimensions of space or time are averaged over these, and very wide
    features are projected to fewer dimensions. At most 5000 examples are used. The scores are for frozen layers; they
    do not predict the effect of fine-tuning.

    \b
    Example:
      ckpttool search my_model_final.ckpt --data mnist.npz --quick
      ckpttool search my_model_final.ckpt --data few.npz --head 'outputs = dense(5)' --report page.html -o best.ckpt
    """
    from ckpttool.cli.show.search import SearchPrinter, print_quick, print_search
    from ckpttool.training.callbacks.plot import Picture
    from ckpttool.verbs import search as verb
    from ckpttool.verbs import search_quick

    if quick:
        refuse_with_quick()
    opened = open_to_run(model, allow_op, options.threads)
    if quick:
        print_quick(search_quick.search_quick(opened, data, options, ProgressPrinter(as_json)), model, data, as_json)
        return
    if head is None or output is None:
        raise PlanError("specify `head`, the new layers for the trials, or `quick`, which needs none")
    picture = Picture(plot, overwrite=True) if plot else None
    asked = {"options": options, "how": how, "overwrite": overwrite, "to": to}
    running = {"callback": SearchPrinter(), "interrupt": SignalInterrupt(), "command": command_line()}
    with place.always(opened) as executor:
        found = verb.search_curve(opened, data, head, output, rows, tracker, executor=executor, **asked, **running)
    print_search(found, model, data, as_json, report, picture)
