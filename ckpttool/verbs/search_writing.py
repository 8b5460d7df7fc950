"""The output of a search: the recommended model, trained as in its trials, or an average of several.

The training rows are split as by `finetune`, so that the commands printed by a search reproduce the output.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from ckpttool.formats.writing.files import temporary_folder
from ckpttool.lineage.provenance import Command
from ckpttool.model.model import Model
from ckpttool.searching.configurations import Configuration
from ckpttool.searching.found import FinalAccuracy, Search
from ckpttool.searching.loop import SearchCallback
from ckpttool.searching.trials import Trials
from ckpttool.verbs.evaluate import evaluate
from ckpttool.verbs.finetune import finetune
from ckpttool.verbs.soup import plan_soup

PARTS = "0:1:0.1"
"""The interpolation coefficients that are evaluated."""


@dataclass(frozen=True)
class Means:
    """The models to average with the recommended one: tied ones, or the one with only its head trained."""

    soup: bool = False
    interpolate: bool = False

    def others(self, found: Search, chosen: Configuration) -> list[Configuration]:
        """Return the configurations to average with the recommended one."""
        if self.interpolate and chosen.trained and chosen.keep:
            return [Configuration(chosen.keep, chosen.keep)]
        tied = found.recommendation.tied if found.recommendation and self.soup else ()
        return [each for each in tied if each.keep == chosen.keep and each != chosen]


def write_found(
    trials: Trials,
    found: Search,
    means: Means,
    output: Path,
    overwrite: bool,
    callback: SearchCallback,
    command: Command,
    to: str,
) -> None:
    """Train the recommended configuration on all training rows, and write it, or an average with others."""
    chosen, data = found.chosen, trials.settings.data
    if chosen is None:
        raise AssertionError("only what is recommended is written")
    others = means.others(found, chosen)
    of_rows = "" if trials.settings.rows is None else ", not on `rows` of them,"

    def train(each: Configuration, path: Path, family: str, replaced: bool = False, by: Command | None = None) -> None:
        callback.on_notes([f"{each} is trained on all rows{of_rows} and {'averaged' if others else 'written'}"])
        model, options = trials.models.kept(each).model, trials.trainers.options_of(each, found.is_cached(each))
        if options.early_stopping is None:  # as in trials: a few rows that are held out would choose an epoch by chance
            options = replace(options, keep="last")
        finetune(model, data, options, path, overwrite=replaced, command=by, to=family)

    if not others:
        train(chosen, output, to, overwrite, command)
        return
    with temporary_folder(output.absolute()) as folder:
        (parts := folder / "parts").mkdir()
        paths = [parts / f"{number}.ckpt" for number in range(len(others) + 1)]
        for each, path in zip((*others, chosen), paths, strict=True):
            train(each, path, "ckpt")
        plan = plan_soup([Model.open(path) for path in paths], data, PARTS if means.interpolate else None, to=to)
        plan.write(output, overwrite, command)
    callback.on_notes(plan.notes[-1:])


def written_accuracy(trials: Trials, output: Path, family: str) -> FinalAccuracy | None:
    """Return the accuracy of the written model on the file's test rows; None if it cannot be computed."""
    options = trials.settings.options
    averaged = family != "keras" and bool(options.recipe and options.recipe.ema)  # such a file has only averages
    written = Model.open(output, trials.source.model.graph.allowed, ema=averaged)
    found = evaluate(written, trials.settings.data, split="test", features=options.features, classes=options.classes)
    return None if found.accuracy is None else FinalAccuracy(found.accuracy, found.rows, is_written=True)
