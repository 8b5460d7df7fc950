"""Search: how many layers of a model to reuse for other data, and how many of these to freeze, by trials."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from ckpttool.core.errors import FormatError, PlanError
from ckpttool.data.files import Source
from ckpttool.data.fingerprint import fingerprint
from ckpttool.executors.executor import Executor
from ckpttool.executors.here import Here
from ckpttool.lineage.provenance import Command
from ckpttool.model.families import family_of, is_model
from ckpttool.model.model import Model
from ckpttool.runtime.configure import require_threads
from ckpttool.searching.configurations import SCRATCH, Bounds, Configuration
from ckpttool.searching.cuts import cut_at, fresh_at
from ckpttool.searching.found import FinalAccuracy, Search
from ckpttool.searching.loop import Budget, Loop, SearchCallback
from ckpttool.searching.recommendation import recommend
from ckpttool.searching.rows import FINAL
from ckpttool.searching.study import Study
from ckpttool.searching.trackers import Following, Tracked, Tracker, open_tracker
from ckpttool.searching.trials import Trials, TrialSettings, TrialsFactory
from ckpttool.searching.walk import Walk, Ways
from ckpttool.training.interrupt import Interrupt
from ckpttool.training.options import Options
from ckpttool.training.saves import refuse_saves
from ckpttool.training.worker_model import WorkerModel
from ckpttool.verbs.finetune import checked_writer
from ckpttool.verbs.search_writing import Means, write_found, written_accuracy

STUDY = ".study"
"""The suffix of the file with a search's trials."""
FREE = ("cache_dir", "threads")
"""Options that may differ in a resumed search."""


@dataclass(frozen=True)
class SearchOptions:
    """What a search tries, a walk or the whole grid within bounds, and its budget.

    `rope` is the difference in accuracy that is practically equal, `keep` and `freeze` bound the depths (`1-3,5`).
    `soup` averages the output with tied configurations that keep the same layers, if validation improves; `interpolate`
    writes the best interpolation between the model with only the head trained and the recommended one.
    """

    grid: bool = False
    keep: str | None = None
    freeze: str | None = None
    rope: float = 0.005
    seeds: int = 3
    folds: int = 5
    rows: int | None = None
    probe: bool = True
    soup: bool = False
    interpolate: bool = False
    budget: Budget = field(default_factory=Budget)


def search_reuse(
    model: Model,
    data: Source,
    head: str,
    output: str | Path,
    *,
    options: Options | None = None,
    how: SearchOptions | None = None,
    overwrite: bool = False,
    callback: SearchCallback | None = None,
    executor: Executor | None = None,
    interrupt: Interrupt | None = None,
    command: Command | None = None,
    to: str | None = None,
    write: bool = True,
    tracker: Tracker | None = None,
) -> Search:
    """Find how much of a model to keep and to freeze below a new head, and write the recommended model.

    Trials are stored in `OUT.study` when done, and an interrupted search resumes from there.

    Args:
        model: The model whose layers are reused, which is not changed.
        data: A path, or one of the other sources of rows, with labels.
        head: The new layers (SPEC); the last one has an output per class of the data.
        output: The model to write: the recommended one, trained on all training rows.
        options: How each trial is trained, as for `finetune`.
        how: What is tried, and the budget.
        overwrite: Whether an existing output and study are overwritten.
        callback: A callback, called during the trials.
        executor: Where the trials run, if not in this process.
        interrupt: An interrupt that ends the search with its current result.
        command: The command to record in the lineage of the output.
        to: The family to write: `ckpt`, `saved-model`, `keras`; else that of the output's path, or of the model.
        write: Whether to write the model at the end.
        tracker: A tracker to which the search is mirrored while it runs.

    Raises:
        PlanError: a bound is malformed, the options are inconsistent, or the study is of another search.
        CkptError: the rows, the head and the model are inconsistent.
    """
    options, how, callback = options or Options(), how or SearchOptions(), callback or SearchCallback()
    if how.soup and how.interpolate:
        raise PlanError("`soup` and `interpolate` exclude each other: each says which weights are averaged")
    if write:
        checked_writer(model, Path(output), to, overwrite)
    if write and not overwrite:
        refuse_saves(Path(output))
    require_threads(options.threads)
    trials = Trials(model, TrialSettings(data, head, options, how.probe, how.seeds, how.folds, how.rows))
    ways = _ways(trials, how)
    callback.on_notes([*trials.notes, ways.extent(trials.rows.design)])
    place, ends = executor or Here(), interrupt or Interrupt()
    factory = TrialsFactory(_for_worker(model, trials), trials.settings) if executor else lambda: trials
    question, blocks = _question(trials, how), trials.rows.design.blocks
    judged = {block: trials.rows.of_block(block)[1] for block in (*blocks, FINAL)}
    with _study(output, question, overwrite) as study:
        study.require_of(judged, len(trials.depths) - 1, trials.settings.options.epochs)
        following = partial(ways.following, study, blocks)
        tracked = Tracked(Path(output).name, question, len(trials.depths) - 1, blocks)
        mirrored = Following(tracker, tracked, study.outcomes, callback)
        loop = Loop(study, place, factory, trials.rows.design, following, how.rope, how.budget, mirrored, ends)
        ended = loop.run()
        found = _found(trials, study, how, ended, ends.number if ended else None, loop.ran)
        mirrored.end(found.recommendation)
        if found.chosen is None:
            return found
        family = family_of(model.graph.source, output, to)
        tells_itself = write and how.rows is None and not trials.rows.apart and is_model(output)
        found = found if tells_itself else replace(found, held_out=_final_accuracy(trials, study, found.chosen))
        if not write:
            return found
        made_by = command or Command.of_call("search", model.path, output)
        means = Means(how.soup, how.interpolate)
        write_found(trials, found, means, Path(output), overwrite, callback, made_by, family)
        held_out = written_accuracy(trials, Path(output), family) if tells_itself else found.held_out
    return replace(found, held_out=held_out, written=Path(output))


def search_curve(
    model: Model,
    data: Source,
    head: str,
    output: str | Path,
    rows: Sequence[int | None],
    tracker: str | None = None,
    **given: Any,
) -> list[Search]:
    """Search with several numbers of rows, and write the recommended model for the last of them.

    Args:
        model: The model whose layers are reused.
        data: A path, or one of the other sources of rows.
        head: The new layers (SPEC).
        output: The model to write; the studies of the other numbers are beside it, `OUT.100.study`.
        rows: The numbers of training rows; None is all. Each search has an equal part of the remaining budget.
        tracker: The tracker to which all are mirrored while they run: `optuna`, in `OUT.optuna.db`.
        given: The other arguments of `search_reuse`.

    Raises:
        CkptError: as for `search_reuse`.
    """
    if tracker is not None:
        with open_tracker(tracker, Path(output)) as mirror:
            return _searches(model, data, head, output, rows, tracker=mirror, **given)
    return _searches(model, data, head, output, rows, **given)


def _searches(
    model: Model, data: Source, head: str, output: str | Path, rows: Sequence[int | None], **given: Any
) -> list[Search]:
    """Run the search for each number of rows."""
    how = given.pop("how", None) or SearchOptions()
    if amounts := [number for number in rows if number is not None and len(rows) > 1]:
        options = given.get("options") or Options()
        _ = Trials(model, TrialSettings(data, head, options, how.probe, how.seeds, how.folds, max(amounts))).rows
    found: list[Search] = []
    begun = time.monotonic()
    for place, number in enumerate(rows):
        if found and found[-1].signal is not None:
            break
        ran, left = sum(each.ran for each in found), len(rows) - place
        part = replace(how, rows=number, budget=how.budget.part(time.monotonic() - begun, ran, left))
        path = output if left == 1 else f"{output}.{number or 'all'}"
        found.append(search_reuse(model, data, head, path, how=part, write=left == 1, **given))
    return found


def _ways(trials: Trials, how: SearchOptions) -> Ways:
    """Return the configurations to try, and the first ones: the depths with the best scores of features."""
    deepest = len(trials.depths) - 1
    bounds = Bounds.parse(deepest, how.keep, how.freeze).above(deepest, trials.models.misfits)
    return Ways(Walk(deepest, bounds, [each.features.depth.number for each in trials.ranking.in_order]), how.grid)


def _found(trials: Trials, study: Study, how: SearchOptions, ended: str | None, signal: int | None, ran: int) -> Search:
    """Return the result of a study for a search."""
    deepest, settings = len(trials.depths) - 1, trials.settings
    found = recommend(study.outcomes, trials.rows.design, deepest, how.rope)
    if found and ended and len(found.tried) == 1:
        found = replace(found, configuration=None, why=f"{found.best} alone was judged, and compared with nothing")
    numbers = {each for one in study.outcomes for each in (one.keep, one.freeze) if each} | {deepest}
    cuts = {number: cut_at(trials.source.model.graph, trials.depths, number) for number in numbers}
    return Search(
        depths=trials.depths,
        head=settings.head,
        options=trials.trainers.options_of(SCRATCH),
        cuts={**cuts, 0: fresh_at(trials.depths, trials.models.top)},
        rows=trials.rows,
        outcomes=dict(study.outcomes),
        trials=study.trials(),
        ranking=trials.ranking,
        recommendation=found,
        held_out=None,
        ended=ended,
        rope=how.rope,
        first=settings.options.epochs if how.probe else None,
        signal=signal,
        ran=ran,
    )


def _final_accuracy(trials: Trials, study: Study, chosen: Configuration) -> FinalAccuracy | None:
    """Return the accuracy of a configuration on examples not used for the selection; None if its training fails."""
    if FINAL not in study.outcomes[chosen]:
        study.add(chosen, FINAL, trials.final_outcome(chosen, study.outcomes[chosen]))
    outcome = study.outcomes[chosen][FINAL]
    return None if outcome.accuracy is None else FinalAccuracy(outcome.accuracy, len(outcome.correct))


def _study(output: str | Path, question: Mapping[str, Any], overwrite: bool) -> Study:
    """Open the study of an output; one of the same search is resumed, another one overwritten if allowed."""
    path = Path(f"{output}{STUDY}")
    try:
        return Study.open(path, question)
    except (PlanError, FormatError):
        if not overwrite:
            raise
        return Study.open(path, question, overwrite=True)


def _for_worker(model: Model, trials: Trials) -> WorkerModel:
    """Return the model for a worker, which uses its share of the cores."""
    return replace(WorkerModel.of(model, trials.facts()), least_threads=1)


def _question(trials: Trials, how: SearchOptions) -> dict[str, Any]:
    """Return what makes trials comparable, which is stored in a study and compared when it is resumed."""
    settings, rows = trials.settings, trials.rows
    trained = {name: value for name, value in settings.options.flat().items() if name not in FREE}
    divided = {"seeds": how.seeds, "folds": how.folds, "rows": how.rows, "probe": how.probe}
    data = {"choosing": fingerprint(rows.choosing), "telling": fingerprint(rows.held_out)}
    return {**trials.facts(), "head": settings.head, **data, **divided, **{k: str(v) for k, v in trained.items() if v}}
