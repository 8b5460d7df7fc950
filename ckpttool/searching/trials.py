"""Trials: a configuration is trained and evaluated on a block's rows, like `reuse` and `finetune` do it.

Trials share the model, the rows, and a trainer for each configuration.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import Any

import numpy as np

from ckpttool.core.errors import GraphError, PlanError, UnknownName
from ckpttool.core.names import listed
from ckpttool.core.tensors import Tensor
from ckpttool.data.dataset import labelled_split
from ckpttool.data.drawing import shuffled
from ckpttool.data.splits import empty_classes
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.rewrite.prune import subgraph
from ckpttool.graph.roles.resolve import needed_role
from ckpttool.model.model import Model
from ckpttool.runtime.function import computed_part
from ckpttool.searching.configurations import SCRATCH, Block, Configuration, Outcome
from ckpttool.searching.depths import depths
from ckpttool.searching.features import FeaturePass
from ckpttool.searching.kept_models import KeptModels
from ckpttool.searching.quick import Ranking, ranking
from ckpttool.searching.rows import FINAL, SearchRows, rows_text
from ckpttool.searching.targets import targets_of
from ckpttool.searching.trainers import Diverged, Trainers, train
from ckpttool.training.bound import Bound
from ckpttool.training.defaults import settled
from ckpttool.training.options import Options
from ckpttool.training.outputs import meaning
from ckpttool.training.prepare import check_options
from ckpttool.training.trainer import Trainer
from ckpttool.training.worker_model import WorkerModel, part_facts

SCORED = 2000
"""The maximal number of rows used to score depths, which determines the first configurations."""
Trial = tuple[Configuration, Block]


@dataclass(frozen=True)
class TrialSettings:
    """The settings that all trials of a search of one model share.

    Args:
        data: The data set.
        head: The new layers.
        options: The training options.
        probe: Whether the head is trained alone first, if a trial trains kept layers.
        seeds, folds, rows: The numbers of seeds and folds, and the limit of the training rows.
    """

    data: Any
    head: str
    options: Options
    probe: bool = True
    seeds: int = 3
    folds: int = 5
    rows: int | None = None

    def __hash__(self) -> int:
        """Return a hash that is the same for equal settings."""
        return hash((str(self.data), self.head, repr(self.options), self.rows))


@dataclass(frozen=True)
class TrialsFactory:
    """Creates the function of a worker, which runs trials."""

    model: WorkerModel
    settings: TrialSettings

    def __call__(self) -> "Trials":
        """Open the model and find its depths.

        Raises:
            CkptError: the model has no depths, or differs from that of the requesting process.
        """
        trials = Trials(self.model.open(), self.settings)
        self.model.check(trials.facts())
        return trials


class Trials:
    """Runs trials of one search, in one process."""

    def __init__(self, model: Model, settings: TrialSettings) -> None:
        """Find the depths of a model.

        Raises:
            CkptError: the model has no depths, or its inputs are not known.
        """
        self.settings = settings
        options = settings.options
        bound = Bound.of(model, options.roles, ("inputs",), seed=options.seed)
        self.source = bound.preprocessing(options.preprocess)
        found = depths(self.source.model.graph, self.source.roles.inputs, self.source.given.get("logits"))
        if len(found) < 2:
            problem = f"{model.path}: there is no layer below the output layer"
            raise GraphError(f"{problem}: there is nothing to reuse, and `ckpttool new` trains from scratch")
        self.models = KeptModels(self.source, found, settings.head, options)
        self.depths = self.models.depths
        self._heads: dict[tuple[int, Block], Mapping[str, Tensor]] = {}

    def facts(self) -> dict[str, str]:
        """Return hashes of what trials depend on besides the settings: the reusable layers and their weights."""
        model, top = self.source.model, [self.depths[-1].tensor]
        below = subgraph(model.graph, top)
        weights = [each.name for each in variables(below).values()]
        part = computed_part(model.graph, top, self.source.roles.inputs)
        return part_facts(part, top, model.checkpoint, weights)

    @cached_property
    def rows(self) -> SearchRows:
        """The rows, fitted to the placeholders of a graph with the head.

        Raises:
            CkptError: the rows or the head do not fit.
        """
        settings, options = self.settings, self.settings.options
        bound = self.models.kept(SCRATCH).bound
        split, counts = labelled_split(settings.data, bound.wanted(options.features))
        rows = SearchRows.of(split, counts, settings.seeds, settings.folds, options.seed, settings.rows)
        self._require_right_or_wrong(replace(bound, splits=(rows.choosing, rows.held_out)))
        check_options(bound.model, replace(options, objective=None, roles=bound.given))
        return rows

    @cached_property
    def trainers(self) -> Trainers:
        """The trainers of configurations on the rows."""
        return Trainers(self.models, self.rows, self.settings.options, self.settings.probe)

    def _require_right_or_wrong(self, bound: Bound) -> None:
        """Check, before any computation, that each output of the head is either right or wrong for a label.

        Raises:
            CkptError: the outputs are amounts, or do not match the labels of the rows.
        """
        row = bound.check_classes()
        logits = needed_role(bound.model.graph, bound.roles, "logits")
        known = meaning(bound.model.graph, bound.roles, logits)
        if known is None or known.predicts == "numbers":
            raise PlanError(
                f"`head` {self.settings.head!r}: its outputs are amounts, which are near or far, and a search compares "
                "what is right or wrong: `objective` softmax or sigmoid; `quick` scores depths for regression"
            )
        if row is not None:
            labels = np.asarray(bound.splits[0].labels)[:1]
            known.right(np.zeros((1, *row), np.float32), labels)

    @property
    def notes(self) -> list[str]:
        """Notes for the user: changes of the model and the rows, which rows evaluate, defaults of trials."""
        bound = replace(self.models.kept(SCRATCH).bound, splits=self.rows.splits(self.rows.design.blocks[0]))
        chosen = settled(self.settings.options, bound)[1]
        left = [
            f"depth {number} is not kept, because `head` does not fit it: {why}"
            for number, why in self.models.misfits.items()
        ]
        row = bound.check_classes()
        empty = listed([str(each) for each in empty_classes(self.rows.choosing, row[-1])]) if row else ""
        left += [f"no row that chooses has the label {empty}"] if empty else []
        return [*self.source.notes, *self.rows.choosing.notes, rows_text(self.rows), *left, *chosen]

    def __call__(self, trial: Trial) -> Outcome:
        """Train a configuration on a block and evaluate it; a failed training is an outcome, too.

        So is an option that does not apply to the configuration, such as a rate for a layer that is not kept.

        Raises:
            CkptError: the rows do not fit, or a cache cannot be filled.
        """
        configuration, block = trial
        return self._outcome(configuration, block)

    def final_outcome(self, configuration: Configuration, chosen: Mapping[Block, Outcome]) -> Outcome:
        """Train a configuration on all selection rows, and evaluate it on the held-out rows.

        These do not affect the number of epochs either: with early stopping, it is the mean of the best epochs of the
        trials before, and no learning rate depends on the scores.
        """
        options = self.settings.options
        best = [outcome.epochs for outcome in chosen.values() if outcome.state == "done"]
        if options.early_stopping is not None and best:
            return self._outcome(configuration, FINAL, max(1, round(fmean(best))))
        return self._outcome(configuration, FINAL, options.epochs)

    def _outcome(self, configuration: Configuration, block: Block, epochs: int | None = None) -> Outcome:
        start = time.perf_counter()
        try:
            trainer, epochs = self._trained(configuration, block, epochs)
        except (Diverged, PlanError, UnknownName) as error:
            return Outcome(seconds=time.perf_counter() - start, state="failed", reason=str(error))
        logits = needed_role(trainer.graph, trainer.bound.roles, "logits")
        known = meaning(trainer.graph, trainer.bound.roles, logits)
        if known is None:
            raise PlanError(f"what the outputs of `head` {self.settings.head!r} mean is not known, so none are right")
        right = known.right(trainer.outputs(), np.asarray(trainer.bound.splits[1].labels))
        rows = self.rows.of_block(block)[1]
        return Outcome(right, time.perf_counter() - start, epochs, reason=self._why_uncached(configuration), rows=rows)

    def _why_uncached(self, configuration: Configuration) -> str:
        """Return why the frozen layers, or those frozen while the head is trained, were not cached; else ''."""
        alone = Configuration(configuration.keep, configuration.keep)
        uncached = self.trainers.uncached
        stages = (configuration, alone) if self.settings.probe and configuration.trained else (configuration,)
        return next((uncached[each] for each in stages if each in uncached), "")

    def _trained(self, configuration: Configuration, block: Block, epochs: int | None = None) -> tuple[Trainer, int]:
        """Train a configuration on a block, with `probe` after its head has been trained alone."""
        alone = Configuration(configuration.keep, configuration.keep)
        if self.settings.probe and configuration.trained and (configuration.keep, block) not in self._heads:
            self._trained(alone, block, epochs)
        first = self._heads[configuration.keep, block] if self.settings.probe and configuration.trained else {}
        trainer = self.trainers.begun(configuration, block, first)
        epochs = train(trainer, epochs)
        if self.settings.probe and configuration.keep and configuration == alone:
            values, fresh = trainer.tensors(trainer.state.read()), self.models.kept(configuration).fresh
            self._heads[configuration.keep, block] = {name: values[name] for name in fresh}
        return trainer, epochs

    @cached_property
    def ranking(self) -> Ranking:
        """The ranking of the depths by the scores of their features on the selection rows."""
        choosing = self.rows.choosing
        labels = np.asarray(choosing.labels)
        bound = replace(self.source, splits=(replace(choosing, labels=None),))
        run = FeaturePass(bound, self.depths)
        count = min(SCORED, run.most_rows(), choosing.rows)
        numbers = np.sort(shuffled(choosing.rows, self.settings.options.seed)[:count])
        kind = self.settings.options.objective.kind if self.settings.options.objective else None
        targets, _ = targets_of(labels[numbers], self.settings.data, kind)
        return ranking(run.over(numbers, lambda *_: None), targets, 0)
