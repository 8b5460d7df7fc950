"""Output of a search: progress, tables, and the commands that create the models it found."""

import shlex
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import click
from click.core import ParameterSource

from ckpttool.cli.options.recipe import RECIPE
from ckpttool.cli.show.help import option_name
from ckpttool.cli.show.progress import Bar, clock
from ckpttool.cli.show.tables import print_report, say
from ckpttool.core.counts import counted
from ckpttool.core.errors import Interrupted
from ckpttool.formats.writing.files import replacing
from ckpttool.searching.configurations import Block, Configuration, Outcome
from ckpttool.searching.cuts import Cut
from ckpttool.searching.found import Search
from ckpttool.searching.loop import Progress, SearchCallback
from ckpttool.searching.page import page
from ckpttool.searching.picture import draw
from ckpttool.searching.quick import ScoredDepth
from ckpttool.training.callbacks.plot import Picture
from ckpttool.training.options import Options
from ckpttool.verbs.search_quick import QuickSearch

GIVEN = (ParameterSource.COMMANDLINE, ParameterSource.DEFAULT_MAP)
QUICK_COLUMNS = ("depth", "layers", "features", "logme", "expected", "from", "to", "rank", "tied")
MADE = {
    *("objective", "class_weight", "label_smoothing", "preprocess", "inputs", "signature", "classes", "seed"),
    "allow_op",
}
"""Options that are repeated in the command that creates the model."""
TRAINED = {
    *(*RECIPE, "bn", "dropout", "epochs", "batch_size", "early_stopping", "augment", "image_shape"),
    *("features", "threads", "seed", "allow_op"),
}
"""Options that are repeated in the command that trains it."""
COLUMNS = ("keep", "freeze", "accuracy", "from", "to", "behind", "blocks", "seconds", "what")


class SearchPrinter(SearchCallback):
    """Prints notes and abandoned configurations to stderr, and shows a bar with the best configuration so far."""

    def __init__(self) -> None:
        """Create it without results."""
        self._bar = Bar()
        self._known: dict[Configuration, list[float]] = {}
        click.get_current_context().call_on_close(self._bar.clear)

    def on_notes(self, notes: Sequence[str]) -> None:
        """Print them."""
        with self._bar.aside():
            for note in notes:
                say(note)

    def on_trial(self, configuration: Configuration, block: Block, outcome: Outcome) -> None:
        """Store the accuracy of a configuration; print failures, and configurations whose features are not cached."""
        what = "failed" if outcome.state == "failed" else "not cached"
        if outcome.reason and (outcome.state == "failed" or configuration not in self._known):
            with self._bar.aside():
                say(f"{what}: {configuration}: {outcome.reason}")
        if outcome.accuracy is not None:
            self._known.setdefault(configuration, []).append(outcome.accuracy)

    def on_stopped(self, configuration: Configuration, reason: str) -> None:
        """Print which configuration is abandoned."""
        with self._bar.aside():
            say(f"given up: {configuration}: {reason}")

    def on_progress(self, progress: Progress) -> None:
        """Update the bar."""
        left = "" if progress.seconds_left is None else f"  {clock(progress.seconds_left)} left"
        best = max(self._known, key=lambda each: fmean(self._known[each]), default=None)
        so_far = "" if best is None else f"  best: {best} {fmean(self._known[best]):.3f}"
        facts = f"{progress.done} of {counted(progress.planned, 'trial')}, {progress.running} running{so_far}{left}"
        self._bar.move("search", progress.done + progress.stopped, progress.planned, facts)
        if progress.done + progress.stopped >= progress.planned:
            self._bar.clear()


def print_search(
    searches: Sequence[Search], model: Path, data: Path, as_json: bool, report: Path | None, picture: Picture | None
) -> None:
    """Print the configurations as a table or JSON, the recommendation, and the commands that create its model.

    Raises:
        Interrupted: the search was interrupted; its study contains the results so far.
    """
    found = searches[-1]
    facts, several = facts_of(found, model, data), searches if len(searches) > 1 else []
    curve = [{**each.on_curve(), "configurations": facts_of(each, model, data)} for each in several]
    document = {**found.as_json(), "configurations": facts, "curve": curve}
    print_report(document, map(row, facts), COLUMNS, as_json)
    for line in (*found.lines(), *next((each["commands"] for each in facts if each["what"] == "recommended"), ())):
        say(line)
    for point in curve:
        say(f"with {counted(point['rows'], 'row')}: {point['recommended']}, accuracy {point['accuracy']:.4f}")
    if report is not None:
        with replacing(report) as file:
            file.write(page({**document, **found.on_page(model.name)}).encode())
        say(f"{report}: written")
    if picture is not None:
        draw(picture, searches, f"How much of {model.name} to reuse")
        say(f"{picture.path}: written")
    if found.signal is not None:
        raise Interrupted("interrupted; the study has what is known, and the same command resumes", found.signal)


def given(names: Container[str]) -> list[str]:
    """Return those options of the running command with these names that were given on the command line or in a file."""
    context, words = click.get_current_context(), list[str]()
    for parameter in context.command.params:
        name = str(parameter.name)
        if name in names and context.get_parameter_source(name) in GIVEN:
            value = context.params[name]
            for each in value if parameter.multiple and isinstance(value, tuple) else [value]:
                text = ",".join(map(str, each)) if isinstance(each, tuple) else str(each)
                words += [option_name(parameter), text]
    return words


def print_quick(found: QuickSearch, model: Path, data: Path, as_json: bool) -> None:
    """Print the scores of depths as a table or JSON, the conclusion, and the commands for the best depth."""
    lines = quick_commands(found, model, data)
    document = {**found.as_json(), "commands": lines}
    print_report(document, map(quick_row, found.ranking.depths), QUICK_COLUMNS, as_json)
    for line in (*found.lines(), *lines):
        say(line)


def facts_of(found: Search, model: Path, data: Path) -> list[dict[str, Any]]:
    """Return the results of each configuration, the best first."""
    recommended = found.recommendation.configuration if found.recommendation else None
    tied = found.recommendation.tied if found.recommendation else ()
    facts = []
    for configuration, outcomes in found.outcomes.items():
        estimate, behind = found.estimate(configuration), found.behind(configuration)
        states = {outcome.state for outcome in outcomes.values()}
        ended = next((outcome.reason for outcome in outcomes.values() if outcome.state != "done"), "")
        facts.append(
            {
                "keep": configuration.keep,
                "freeze": configuration.freeze,
                "accuracy": estimate and estimate.mean,
                "low": estimate and max(estimate.low, 0.0),
                "high": estimate and min(estimate.high, 1.0),
                "behind": behind and behind.mean,
                "blocks": sum(block in outcomes and outcomes[block].state == "done" for block in found.design.blocks),
                "seconds": sum(outcome.seconds for outcome in outcomes.values()),
                "state": next((state for state in ("stopped", "failed") if state in states), "done"),
                "reason": ended,
                "what": "recommended" if configuration == recommended else "tied" if configuration in tied else "",
                "commands": commands(found, configuration, model, data),
            }
        )
    return sorted(facts, key=lambda each: (each["state"] != "done", -(each["accuracy"] or 0.0)))


def row(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a configuration in the table."""
    rounded = {name: None if facts[key] is None else round(facts[key], 4) for name, key in _FIGURES.items()}
    what = facts["what"] or {"stopped": "given up", "failed": "failed"}.get(facts["state"], "")
    kept = {"keep": facts["keep"] or "scratch", "freeze": facts["freeze"], "blocks": facts["blocks"]}
    return {**kept, **rounded, "seconds": round(facts["seconds"], 1), "what": what}


_FIGURES = {"accuracy": "accuracy", "from": "low", "to": "high", "behind": "behind"}


def commands(found: Search, configuration: Configuration, model: Path, data: Path) -> list[str]:
    """Return the commands that create the model of a configuration, and train it as its trials were trained."""
    cut, frozen = found.cuts[configuration.keep], found.cuts[configuration.freeze].layers
    first = ["--lp-ft", str(found.first)] if found.first and configuration.trained else []
    is_cached = frozen is not None and found.is_cached(configuration)
    last = [] if found.options.early_stopping else ["--keep", "last"]
    trained = [*(["--cache"] if is_cached else []), *first, *last, *_settled(found.options), *given(TRAINED)]
    return _reuse_and_train(model, data, found.head, cut, frozen, given(MADE), trained)


def _settled(options: Options) -> list[str]:
    """Return options that were not given and depend on the number of rows, which may differ between run and trials."""
    optimizer = options.recipe.optimizer if options.recipe else None
    words = [] if given({"optimizer"}) else _option("--optimizer", optimizer)
    return words + ([] if given({"batch_size"}) else _option("--batch-size", str(options.batch_size)))


def _reuse_and_train(
    model: Path, data: Path, head: str, cut: Cut, frozen: str | None, made: Sequence[str], trained: Sequence[str]
) -> list[str]:
    """Return the command that adds a head to a cut, and the one that trains it."""
    suffix = ".keras" if model.suffix in (".keras", ".h5", ".hdf5") else ".ckpt"
    kept = ["--fresh"] if cut.layers is None else ["--layers", cut.layers]
    first = ["reuse", str(model), *kept, *_option("--after", cut.after), "--head", head, *made]
    then = ["finetune", f"reused{suffix}", "--data", str(data), *_option("--freeze", frozen), *trained]
    lines = [*first, "-o", f"reused{suffix}"], [*then, "-o", f"tuned{suffix}"]
    return [shlex.join(["ckpttool", *words]) for words in lines]


def quick_row(each: ScoredDepth) -> dict[str, Any]:
    """Return the row of a depth in the table of scores."""
    depth, features = each.features.depth, each.features
    shape = "x".join(map(str, features.shape))
    ways = [*(["mean"] if features.pooled else []), *(["folded"] if features.folded else [])]
    names = depth.layers if len(depth.layers) < 3 else (f"{depth.layers[0]} to {depth.layers[-1]}",)
    return {
        "depth": depth.number,
        "layers": ", ".join(names) or "the input",
        "features": ", ".join([shape, *ways]),
        "logme": round(each.scores.logme, 4),
        "expected": round(each.expected, 4),
        "from": round(each.interval[0], 4),
        "to": round(each.interval[1], 4),
        "rank": each.rank,
        "tied": each.tied,
    }


def quick_commands(found: QuickSearch, model: Path, data: Path) -> list[str]:
    """Return the commands that create the model of the best depth, and train its new layer."""
    reuse = found.reuse
    made = [*_option("--objective", reuse.objective), *given(MADE - {"objective"})]
    made += [] if "--preprocess" in made else _option("--preprocess", reuse.preprocess)
    if reuse.layers is not None:
        cut = Cut(reuse.layers, reuse.after)
        return _reuse_and_train(model, data, reuse.head, cut, reuse.layers, made, ["--cache"])
    if not reuse.input_shape:
        return []
    new = ["new", "--input", ",".join(map(str, reuse.input_shape)), "--layers", reuse.head, *made, "-o", "new.ckpt"]
    lines = new, ["finetune", "new.ckpt", "--data", str(data), "-o", "tuned.ckpt"]
    return [shlex.join(["ckpttool", *words]) for words in lines]


def _option(name: str, value: str | None) -> list[str]:
    return [] if value is None else [name, value]
