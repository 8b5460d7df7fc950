"""Trainers: one for each configuration, whose graph and traced functions are used for every block.

The outputs of frozen layers are computed once for all rows, if they can be cached.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace

from ckpttool.core.errors import CkptError, GraphError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.runtime.state import fresh_tensors
from ckpttool.searching.block_features import FrozenFeatures
from ckpttool.searching.configurations import Block, Configuration
from ckpttool.searching.kept_models import KeptModels
from ckpttool.searching.rows import SearchRows
from ckpttool.training.bound import Bound
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.defaults import settled
from ckpttool.training.options import Options
from ckpttool.training.relative_rates import with_found_rates
from ckpttool.training.run import Epoch, best_of, is_over
from ckpttool.training.trainer import Trainer

SEEDS = 1000
"""The difference between the seeds of two splits; the seeds of folds lie between."""
KEPT = 24
"""The number of trainers kept in memory; the least recently used one is dropped first."""


class Diverged(CkptError):
    """The loss of a trial is not finite."""


class Trainers:
    """The trainers of one search, each built on first use."""

    def __init__(self, models: KeptModels, rows: SearchRows, options: Options, probe: bool) -> None:
        """Store the settings; with `probe`, a head is trained alone before kept layers are trained."""
        self._models, self._rows, self._options, self._probe = models, rows, options, probe
        self._checkpoint = models.source.model.checkpoint
        self._features = FrozenFeatures(self._checkpoint, rows, options.cache_dir)
        self._trainers: OrderedDict[tuple[Configuration, bool], Trainer] = OrderedDict()
        self.uncached: dict[Configuration, str] = {}

    def begun(self, configuration: Configuration, block: Block, first: Mapping[str, Tensor]) -> Trainer:
        """Return the trainer of a configuration, initialised for a block; `first` are values of a trained head."""
        kept, splits = self._models.kept(configuration), self._rows.splits(block)
        seed = self._options.seed + SEEDS * block.seed + block.fold + 1
        restored = {name: self._checkpoint[name] for name in kept.restored}
        fresh = [name for name in kept.fresh if name not in first]
        values = {**restored, **fresh_tensors(kept.bound.model.graph, fresh, seed, restored), **first}
        key = configuration, block.is_final
        if trainer := self._trainers.get(key):
            self._trainers.move_to_end(key)
            features = self._features.of(trainer.frozen, kept.top, block) if trainer.features else None
            trainer.restart(splits, seed, values, features)
            return trainer
        while len(self._trainers) >= KEPT:
            self._trainers.popitem(last=False)
        self._trainers[key] = trainer = self._new(
            configuration, replace(kept.bound, splits=splits), block, seed, values
        )
        return trainer

    def _new(
        self, configuration: Configuration, bound: Bound, block: Block, seed: int, values: Mapping[str, Tensor]
    ) -> Trainer:
        """Build the trainer of a configuration, on cached features if its frozen part can be cached."""
        options = replace(self.options_of(configuration), lp_ft=None, seed=seed, roles=bound.given)
        # rates are determined on block 0, so that they do not depend on the first block in a worker
        first = replace(bound, splits=self._rows.splits(Block(0)))
        options, _ = with_found_rates(options, [], first)
        top = self._models.kept(configuration).top
        try:
            return Trainer(
                bound, options, Callback(), values=values, cached=lambda frozen: self._features.of(frozen, top, block)
            )
        except GraphError as error:
            if not options.cache:
                raise
            self.uncached[configuration] = str(error)
            return Trainer(bound, replace(options, cache=False), Callback(), values=values)

    def options_of(self, configuration: Configuration, cached: bool = True) -> Options:
        """Return the options of a run that trains a configuration: its frozen layers, and the epochs of the head alone.

        Defaults depend on the rows of the first block, for all runs. `cached` is whether the frozen layers can be
        cached, according to its trials.
        """
        asked = self._options
        frozen = self._models.pattern(configuration.freeze) or None
        first = asked.epochs if self._probe and configuration.keep and configuration.trained else None
        cache = cached and frozen is not None and not asked.augment
        options = replace(asked, freeze=frozen, cache=cache, lp_ft=first, objective=None, roles={})
        return settled(options, replace(self._models.kept(configuration).bound, splits=self._rows.splits(Block(0))))[0]


def train(trainer: Trainer, epochs: int | None = None) -> int:
    """Train for all epochs, or with early stopping until the best; return the epoch whose weights are kept.

    With `epochs`, the number of epochs is fixed, and the evaluated rows are not used.

    Raises:
        Diverged: the loss is not finite.
    """
    options, history, step = trainer.options, list[Epoch](), 0
    scored = epochs is None and (options.early_stopping is not None or bool(options.recipe and options.recipe.plateau))
    best: Mapping[str, Array] | None = None
    for epoch in range(1, (epochs or options.epochs) + 1):
        trainer.follow(history)
        batch, total, seconds = 0, 0.0, 0.0
        while batch < trainer.batches:
            taken = trainer.take(epoch, batch, trainer.batches - batch, step, total)
            if taken.failed:
                raise Diverged(f"the loss is not finite in epoch {epoch}")
            batch, step, total, seconds = batch + taken.count, step + taken.count, taken.total, seconds + taken.seconds
        if scored:
            score = trainer.score()
            history.append(Epoch(epoch, total / trainer.batches, score.loss, score.accuracy, seconds))
            best = trainer.state.read() if history[-1] is best_of(history) else best
            if is_over(history, options.epochs, options.early_stopping):
                break
    if options.early_stopping is None or best is None:
        return epoch
    trainer.state.write(best)
    return best_of(history).epoch
