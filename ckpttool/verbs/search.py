"""Search: how many layers of a model to reuse for other rows, and how many of these to freeze, by trying it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ckpttool.core.errors import FormatError, PlanError
from ckpttool.data.fingerprint import fingerprint
from ckpttool.executors.executor import Executor
from ckpttool.executors.here import Here
from ckpttool.lineage.provenance import Command
from ckpttool.model.families import family_of, writer_for
from ckpttool.model.model import Model
from ckpttool.search.configurations import Bounds, Configuration
from ckpttool.search.cuts import cut_at
from ckpttool.search.found import Search
from ckpttool.search.loop import Budget, Loop, SearchCallback
from ckpttool.search.recommendation import Recommendation, recommend
from ckpttool.search.rows import TOLD
from ckpttool.search.study import Study
from ckpttool.search.trials import Asked, Trials, TrialsFactory
from ckpttool.search.walk import Walk, everything
from ckpttool.training.loop import Interrupt
from ckpttool.training.options import Options
from ckpttool.training.worker_model import WorkerModel
from ckpttool.verbs.finetune import finetune
from ckpttool.verbs.soup import plan_soup

STUDY = ".study"
"""What the file of a search's trials is called, after the output."""
FREE = ("cache_dir", "threads")
"""Options that another run of the same search may have other values of."""


@dataclass(frozen=True)
class SearchOptions:
    """What is tried of the model: a walk or the whole grid, within bounds; and how much a search may use.

    `rope` is the difference of accuracies that is as good as none, `keep` and `freeze` bound what is tried (`1-3,5`).
    `soup` averages what is written with those tied that keep the same, as validation rows say; `interpolate` takes the
    best of the weights between the model whose head alone was trained and the one that is recommended.
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
    data: str | Path,
    head: str,
    output: str | Path,
    options: Options | None = None,
    how: SearchOptions | None = None,
    overwrite: bool = False,
    callback: SearchCallback | None = None,
    executor: Executor | None = None,
    interrupt: Interrupt | None = None,
    command: Command | None = None,
    to: str | None = None,
    write: bool = True,
) -> Search:
    """Try how much of a model to keep and to freeze under a new head, recommend, and write what is recommended.

    Trials are kept in `OUT.study` as they are done, and a search that was ended goes on from there.

    Args:
        model: The model whose layers are reused, which is not changed.
        data: A path, or one of the other sources of rows, with labels.
        head: The new layers (SPEC), whose last one gives the classes of the data.
        output: The model that is written: what is recommended, trained on all rows that may be trained on.
        options: How each trial is trained, as for `finetune`.
        how: What is tried, and what the search may use.
        overwrite: Whether an output and a study that are there are replaced.
        callback: Is called while trials are run.
        executor: Where trials are run, if not in this process.
        interrupt: What ends the search, with what is known by then.
        command: What stands in the lineage of the output as what made it.
        to: The family to write: `ckpt`, `saved-model`, `keras`; else that of the output's path, or of the model.
        write: Whether the model is written at the end.

    Raises:
        PlanError: a bound is malformed, the options do not fit, or another question was asked in the study.
        CkptError: the rows, the head and the model do not fit one another.
    """
    options, how, callback = options or Options(), how or SearchOptions(), callback or SearchCallback()
    if how.soup and how.interpolate:
        raise PlanError("`soup` and `interpolate` exclude one another: each says which weights are averaged")
    if write:
        writer_for(model.graph.source, output, to).check(Path(output), overwrite, model.graph)
    asked = Asked(data, head, options, how.probe, how.seeds, how.folds, how.rows)
    trials = Trials(model, asked)
    rows, deepest, ranking = trials.rows, len(trials.depths) - 1, trials.ranking()
    bounds = Bounds.parse(deepest, how.keep, how.freeze).above(deepest, trials.models.misfits)
    walk = Walk(deepest, bounds, [each.features.depth.number for each in ranking.in_order])
    every, blocks = len(bounds.grid(deepest)), len(rows.design.blocks)
    most = f"{every if how.grid else walk.most} of {every} ways to keep and to freeze are tried at most, "
    most += f"each on {blocks} block{'s' * (blocks > 1)} of rows; `keep`, `freeze`, `seeds` and `budget` bound that"
    callback.on_notes([*trials.notes, most])
    with _study(output, _question(trials, how), overwrite) as study:

        def known(configuration: Configuration) -> float | None:
            return study.mean(configuration, rows.design.blocks)

        def following() -> list[Configuration]:
            return everything(deepest, bounds, known) if how.grid else walk.following(known)

        factory = TrialsFactory(_for_worker(model, trials), asked) if executor else lambda: trials
        place, ends = executor or Here(), interrupt or Interrupt()
        ended = Loop(study, place, factory, rows.design, following, how.rope, how.budget, callback, ends).run()
        found = recommend(study.outcomes, rows.design, deepest, how.rope)
        if found and ended and len(found.tried) == 1:
            found = replace(found, configuration=None, why=f"{found.best} alone was judged, and compared with nothing")
        chosen = found.configuration if found and ended is None else None
        if chosen is not None and TOLD not in study.outcomes[chosen]:
            study.add(chosen, TOLD, trials((chosen, TOLD)))
        told = study.outcomes[chosen][TOLD] if chosen is not None else None
        outcomes, listed = dict(study.outcomes), study.trials()
    if chosen is not None and write:
        command, to = (
            command or Command.of_call("search", model.path, output),
            family_of(model.graph.source, output, to),
        )
        others = _averaged(found, chosen, how)
        callback.on_notes(_write(trials, [*others, chosen], Path(output), how, overwrite, command, to))
    numbers = {each for one in outcomes for each in (one.keep, one.freeze)} | {deepest}
    cuts = {number: cut_at(trials.source.model.graph, trials.depths, number) for number in numbers}
    first, written = options.epochs if how.probe else None, Path(output) if chosen is not None and write else None
    facts = trials.depths, head, cuts, rows, outcomes, listed, ranking, found, told, ended, how.rope
    return Search(*facts, first, ends.number if ended else None, written)


def search_curve(
    model: Model, data: str | Path, head: str, output: str | Path, rows: Sequence[int | None], **given: Any
) -> list[Search]:
    """Search with less and with more rows, and write what is recommended for the last of these numbers.

    Args:
        model: The model whose layers are reused.
        data: A path, or one of the other sources of rows.
        head: The new layers (SPEC).
        output: The model that is written; the studies of the other numbers are beside it, `OUT.100.study`.
        rows: How many rows to train on; None is all of them.
        given: The other arguments of `search_reuse`.

    Raises:
        CkptError: as `search_reuse`.
    """
    how = given.pop("how", None) or SearchOptions()
    if amounts := [number for number in rows if number is not None and len(rows) > 1]:
        options = given.get("options") or Options()
        _ = Trials(model, Asked(data, head, options, how.probe, how.seeds, how.folds, max(amounts))).rows
    found: list[Search] = []
    for number in rows:
        if found and found[-1].signal is not None:
            break
        is_last = number == rows[-1]
        place = output if is_last else f"{output}.{number or 'all'}"
        found.append(search_reuse(model, data, head, place, how=replace(how, rows=number), write=is_last, **given))
    return found


def _study(output: str | Path, question: Mapping[str, Any], overwrite: bool) -> Study:
    """Open the study of an output; one of the same question goes on, another one is replaced where that may be."""
    path = Path(f"{output}{STUDY}")
    try:
        return Study.open(path, question)
    except (PlanError, FormatError):
        if not overwrite:
            raise
        return Study.open(path, question, overwrite=True)


def _averaged(found: Recommendation | None, chosen: Configuration, how: SearchOptions) -> list[Configuration]:
    """Return what is averaged with the configuration that is recommended."""
    if how.interpolate and chosen.trained and chosen.keep:
        return [Configuration(chosen.keep, chosen.keep)]
    tied = found.tied if found and how.soup else ()
    return [each for each in tied if each.keep == chosen.keep and each != chosen]


def _write(
    trials: Trials,
    configurations: Sequence[Configuration],
    output: Path,
    how: SearchOptions,
    overwrite: bool,
    command: Command,
    to: str,
) -> Sequence[str]:
    """Train configurations on all rows that may be trained on, and write the last, or a mean; return what is said."""
    data, chosen = trials.asked.data, configurations[-1]
    if len(configurations) == 1:
        model = trials.models.kept(chosen).model
        finetune(model, data, trials.options_of(chosen), output, overwrite, command=command, to=to)
        return []
    with TemporaryDirectory(dir=output.absolute().parent, prefix=f".{output.name}.") as folder:
        models = []
        for number, each in enumerate(configurations):
            path = Path(folder) / f"{number}.ckpt"
            finetune(trials.models.kept(each).model, data, trials.options_of(each), path, to="ckpt")
            models.append(Model.open(path))
        plan = plan_soup(models, data, "0:1:0.1" if how.interpolate else None, to=to)
        plan.write(output, overwrite, command)
    return plan.notes[-1:]


def _for_worker(model: Model, trials: Trials) -> WorkerModel:
    """Return what a worker opens; it computes with its share of the cores, for that of two is no faster."""
    return replace(WorkerModel.of(model, trials.facts()), least_threads=1)


def _question(trials: Trials, how: SearchOptions) -> dict[str, Any]:
    """Return what makes trials comparable: what stands in a study, and is held against what is asked later."""
    asked, rows = trials.asked, trials.rows
    trained = {name: value for name, value in asked.options.flat().items() if name not in FREE}
    divided = {"seeds": how.seeds, "folds": how.folds, "rows": how.rows, "probe": how.probe}
    data = {"choosing": fingerprint(rows.choosing), "telling": fingerprint(rows.telling)}
    return {**trials.facts(), "head": asked.head, **data, **divided, **{k: str(v) for k, v in trained.items() if v}}
