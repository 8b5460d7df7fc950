"""Options of a search: which configurations are tried, and its budget."""

import re
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from ckpttool.cli.options.decorators import as_value, count_option, together
from ckpttool.cli.show.help import long_name
from ckpttool.core.errors import PlanError
from ckpttool.core.names import listed

if TYPE_CHECKING:
    from ckpttool.verbs.search import SearchOptions

QUICK = (
    *("model", "weights", "data", "quick", "objective", "features", "preprocess", "seed", "threads"),
    *("inputs", "labels", "logits", "signature", "allow_op", "trust", "repeats", "config_paths"),
    *("shown_format", "shown_header", "as_json", "quiet", "verbose"),
)
"""The options with an effect on `--quick`."""
_TIME = re.compile(r"(\d+(?:\.\d+)?) *(s|sec|min|m|h)?")
_SECONDS = {None: 1, "s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600}


def seconds(text: str) -> float:
    """Parse a duration, `90s`, `10m` or `1h`, into seconds.

    >>> seconds("90"), seconds("10m"), seconds("1.5 h")
    (90.0, 600.0, 5400.0)

    Raises:
        PlanError: the text is not a duration.
    """
    match = _TIME.fullmatch(text.strip())
    if match is None or not float(match[1]):
        raise PlanError(f"`budget` {text!r}: expected a time such as 90s, 10m or 1h")
    return float(match[1]) * _SECONDS[match[2]]


def numbers(text: str | None) -> list[int | None]:
    """Parse comma-separated numbers of rows; None means all.

    >>> numbers("100,300,all"), numbers(None)
    ([100, 300, None], [None])

    Raises:
        PlanError: the text contains something else.
    """
    parts = [part.strip() for part in (text or "all").split(",")]
    if not all(part == "all" or (part.isdecimal() and int(part)) for part in parts):
        raise PlanError(f"`rows` {text!r}: expected numbers of examples, or all, such as 100,300,all")
    return [None if part == "all" else int(part) for part in parts]


def refuse_with_quick() -> None:
    """Check that the running command was given no option that only a search with trials uses.

    A file of options may have them: it can be of a search with trials.

    Raises:
        PlanError: there is one.
    """
    context = click.get_current_context()
    sources = {each: context.get_parameter_source(str(each.name)) for each in context.command.params}
    typed = [each for each, source in sources.items() if source is ParameterSource.COMMANDLINE]
    if unused := [f"`{long_name(each)}`" for each in typed if each.name not in QUICK]:
        raise PlanError(f"{listed(unused)}: `quick` scores depths, it neither trains nor writes anything")


rows_option = click.option(
    "--rows",
    metavar="N,...",
    callback=lambda _context, _option, value: numbers(value),
    help="Train on a stratified sample of N examples. Several (100,300,all) give a learning curve; the model of the "
    "last is written.",
)


def _how(
    grid: bool,
    keep: str | None,
    freeze: str | None,
    rope: float,
    seeds: int,
    folds: int,
    lp_ft: bool,
    soup: bool,
    interpolate: bool,
    budget: str | None,
    trials: int | None,
) -> "SearchOptions":
    from ckpttool.searching.loop import Budget
    from ckpttool.verbs.search import SearchOptions

    used = Budget(None if budget is None else seconds(budget), trials)
    return SearchOptions(grid, keep, freeze, rope / 100, seeds, folds, None, lp_ft, soup, interpolate, used)


search_options = as_value(
    "how",
    _how,
    together(
        click.option("--grid", is_flag=True, help="Try all configurations, instead of a heuristic search."),
        click.option("--keep", metavar="N,...", help="The depths to keep, such as 1-3,5."),
        click.option("--freeze", metavar="N,...", help="The depths to freeze, such as 0-2."),
        click.option(
            "--rope",
            metavar="POINTS",
            type=click.FloatRange(min=0, max=100),
            default=0.5,
            show_default=True,
            help="Region of practical equivalence: a negligible difference in accuracy, in percentage points.",
        ),
        count_option(
            "--seeds", "The number of repetitions, with different splits, initial values and orders of examples.", 3
        ),
        count_option(
            "--folds",
            "The number of cross-validation folds for under 2000 examples; larger data sets are split once.",
            default=5,
            least=2,
        ),
        click.option(
            "--lp-ft/--no-lp-ft",
            default=True,
            show_default=True,
            help="If kept layers are trained, train only the new head first.",
        ),
        click.option(
            "--soup", is_flag=True, help="Average the model with tied ones of the same depth, if that improves it."
        ),
        click.option(
            "--interpolate",
            is_flag=True,
            help="Write the best interpolation between the recommended model and the one with only the head trained.",
        ),
        click.option(
            "--budget",
            metavar="TIME",
            help="Stop after 90s, 10m or 1h (for all --rows together) and use the trials so far; the same command "
            "without --overwrite resumes.",
        ),
        count_option("--trials", "Stop after N trials."),
    ),
)
"""The options of a search, passed as one `how`."""


def _known_tracker(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Check that a tracker exists."""
    if value is not None:
        from ckpttool.searching.trackers import TRACKERS

        if value not in TRACKERS:
            raise click.BadParameter(f"{value!r} is not one of {', '.join(TRACKERS)}", context, option)
    return value


tracker_option = click.option(
    "--tracker",
    metavar="NAME",
    callback=_known_tracker,
    help="Also record trials for other programs: optuna writes OUT.optuna.db, for optuna-dashboard.",
)
