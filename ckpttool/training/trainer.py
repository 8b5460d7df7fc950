"""The trainer of a stage: a bound model and its frozen part, prepared, checked, and ready to take its steps."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ckpttool.core.collector import collector_paused
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Array, Tensor
from ckpttool.core.variable_kinds import AVERAGE
from ckpttool.data.batches import batch_bounds, epoch_order, even_run
from ckpttool.data.class_files import named_outputs
from ckpttool.data.rows import IN_MEMORY, ChosenRows, Rows
from ckpttool.data.splits import Split
from ckpttool.graph.contents.batch_losses import batch_loss
from ckpttool.graph.contents.class_names import with_class_names
from ckpttool.graph.contents.preprocessing import with_preprocessing_text
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import TensorRef
from ckpttool.graph.freezing.frozen import Frozen
from ckpttool.graph.rewrite.inference import in_inference
from ckpttool.graph.roles.resolve import needed_role
from ckpttool.runtime.distillation import TAUGHT
from ckpttool.runtime.epochs import EpochRunner, Steps
from ckpttool.runtime.function import GraphFunction, runner
from ckpttool.runtime.schedules import FACTOR, RATE, RunSteps
from ckpttool.runtime.state import State, initial_value
from ckpttool.runtime.streaming import Evaluator, Score, Stream
from ckpttool.training.augment import Augmentation, augmentation_of, check_augment
from ckpttool.training.belonging import dealt
from ckpttool.training.bound import Bound, mode
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.feature_cache import FeatureCache
from ckpttool.training.features import CachedRows, Features
from ckpttool.training.options import BATCH_SIZE, Options, stage_of
from ckpttool.training.prepare import prepare
from ckpttool.training.run import Epoch, reductions
from ckpttool.training.spread import odd_rows
from ckpttool.training.stage_notes import left_behind, stage_notes
from ckpttool.training.start import starting_values, steps_before

RESTART = 1 << 32
"""Offset in steps between the random number streams of two seeds in the same built graph."""
BUFFER = IN_MEMORY // 4
"""Bytes of the shuffle buffer if the rows are not all in memory."""


class Trainer:
    """A model, its data and its frozen part, ready to take the steps of one stage."""

    def __init__(
        self,
        source: Bound,
        options: Options,
        callback: Callback,
        epoch: int = 1,
        values: Mapping[str, Tensor] | None = None,
        length: int | None = None,
        cached: Callable[[Frozen], CachedRows] | None = None,
        frozen: Mapping[str | None, Frozen] | None = None,
    ) -> None:
        """Prepare and check the stage of an epoch, which starts with `values`, or with the model's own.

        `length` is the number of steps for schedules that span the run, if it is not that of its epochs. `cached`
        provides the features of the frozen part in place of this trainer's own cache. `frozen` is the result of
        `check_options`.

        Raises:
            CkptError: the graph, the data and the options are inconsistent.
        """
        if options.teacher is not None and source.taught is None:
            raise PlanError("`teacher` is for `finetune`: it is not used here")
        self.source, self.options, self._callback, self._length = source, options, callback, length
        self._known = frozen or {}
        self._stages = options.all_stages()
        self.stage = stage_of(self._stages, epoch)
        self.epochs = sum(stage.epochs for stage in self._stages)
        self.bounds = batch_bounds(source.splits[0].rows, options.batch_size or BATCH_SIZE)
        source.require_batches({*np.diff(self.bounds).tolist(), source.splits[1].rows})
        check_augment(options.augment, options.cache, options.cache_augment)
        rows, variants = source.splits[0], options.cache_augment
        augmentation = augmentation_of(options.augment, rows, options.image_shape, options.seed, variants)
        self._prepare(values or {})
        outputs = self._name_classes()
        notes = stage_notes(source, self.bound, self.frozen, options, self._stages[self.stage].train, outputs)
        callback.on_plan(self.plan, [*notes, *(odd_rows(source, self.frozen.names) if values is None else [])])
        callback.on_data(source.splits)
        self._find_features(augmentation, cached)
        self._build(augmentation.prepare if augmentation and not self.features else None)
        callback.on_graph(self.graph)

    def _prepare(self, present: Mapping[str, Tensor]) -> None:
        """Add the stage's training op to the graph, and bind the data to it; each of its variables has a value."""
        source, options = self.source, self.options
        span = RunSteps(steps_before(source.model), self._length or self.epochs * self.batches)
        train = self._stages[self.stage].train
        prepared = prepare(source.model, options, train, span, self._known.get(train))
        self.frozen, self.plan = prepared.frozen, prepared.plan
        self.graph = with_preprocessing_text(prepared.graph, source.trained_preprocessing)
        if options.cache and self.frozen.part is None and self.stage == 0:
            raise PlanError("`cache` needs frozen layers: name them with `freeze`, or the trained ones with `train`")
        self.values = starting_values(source.model, self.graph, present, options)
        self.bound = source.with_graph(self.graph, prepared.roles, self.values)

    def _name_classes(self) -> int:
        """Store the class names in the graph; return its number of outputs per row."""
        row = self.bound.check_classes()
        outputs = row[-1] if row else 0
        self.graph = with_class_names(self.graph, named_outputs(self.source.class_names, outputs))
        return outputs

    def _find_features(self, augmentation: Augmentation | None, cached: Callable[[Frozen], CachedRows] | None) -> None:
        """Set the features of the frozen part if they are cached: those provided, or from the cache."""
        self.cache: Features | None = None
        self.features: CachedRows | None = None
        part, source = self.frozen.part, self.source
        if not self.options.cache or part is None:
            return
        if cached:
            self.features = cached(self.frozen)
            return
        cache = FeatureCache(self.frozen.graph, part, source.model.checkpoint, source.splits, augmentation)
        self.features = self.cache = cache.open(self.options.cache_dir, self._callback)

    @collector_paused()
    def _build(self, augment: Callable[..., dict[str, Any]] | None) -> None:
        """Build the training step and the validation, on the same variables."""
        roles, seed = self.bound.roles, self.options.seed
        self._feed()
        training, inference = mode(roles, True), mode(roles, False)
        fed = [*self._train[0], *training]
        averages = [TensorRef.parse(name).op for name in self.graph.collection("update_ops")]
        step = GraphFunction(self.graph, [str(roles.loss), str(roles.training_op), *averages], fed, seed, training)
        fed = [*self._valid, *training]
        scores = [str(roles.loss), *([roles.accuracy] if roles.accuracy else [])]
        score = GraphFunction(in_inference(self.graph, scores, fed).graph, scores, fed, modes=inference, scaled=False)
        needed = {variable.op: variable for variable in [*step.variables, *score.variables]}
        self._variables = list(needed.values())
        self.state = State(self._variables, self.values)
        self._outputs: Stream | None = None
        self._seed, self._draws = seed, 0
        self._trainer = EpochRunner(step, self.state, training, augment)
        self._judged = self.state.with_others(self._averages())
        self._evaluator = Evaluator(score, self._judged, inference)
        ours = TensorRef.parse(RATE).op in self.graph.nodes
        self._rate = runner(GraphFunction(self.graph, [RATE]), self.state, {}) if ours else None

    def _averages(self) -> dict[str, str]:
        """Return the ops of the recipe's moving averages by the ops of the weights; validation uses the averages."""
        if self.options.recipe is None or self.options.recipe.ema is None:
            return {}
        ops = {variable.op for variable in self._variables}
        return {op: f"{op}/{AVERAGE}" for op in ops if f"{op}/{AVERAGE}" in ops}

    def _feed(self) -> None:
        """Set the rows of the splits that will be fed; the training rows in all cached variants."""
        train, valid = self.bound.splits
        taught = {} if self.bound.taught is None else {TAUGHT: self.bound.taught}
        variants = range(self.features.variants if self.features else 1)
        self._train = [{**self._feeds(train, variant), **taught} for variant in variants]
        self._valid = self._feeds(valid)
        self._judged_by: list[int] | None = None
        if batch_loss(self.graph):
            order = self._dealt(epoch_order(valid.rows, self.options.seed, 0), valid)
            self._valid = {name: ChosenRows(rows, order) for name, rows in self._valid.items()}
            self._judged_by = batch_bounds(valid.rows, self.options.batch_size or BATCH_SIZE).tolist()

    def restart(
        self, splits: tuple[Split, Split], seed: int, values: Mapping[str, Tensor], features: CachedRows | None = None
    ) -> None:
        """Start again with other rows (of the same number), another seed and other values, without building again.

        Variables without a value in `values`, such as the optimizer's slots, are newly initialised.
        """
        self.source, self.options = replace(self.source, splits=splits), replace(self.options, seed=seed)
        self.bounds = batch_bounds(splits[0].rows, self.options.batch_size or BATCH_SIZE)
        self.values = starting_values(self.source.model, self.graph, values, self.options)
        self.bound = self.source.with_graph(self.graph, self.bound.roles, self.values)
        self.features, self._draws = features, (seed - self._seed) * RESTART
        self._feed()
        self.state.write({variable.op: initial_value(variable, self.values) for variable in self._variables})

    def outputs(self) -> Array:
        """Return the logits of the validation rows."""
        if self._outputs is None:
            fed, inference = [*self._valid, *mode(self.bound.roles, False)], mode(self.bound.roles, False)
            logits = needed_role(self.graph, self.bound.roles, "logits")
            function = GraphFunction(in_inference(self.graph, [logits], fed).graph, [logits], fed, modes=inference)
            self._outputs = Stream(function, self._judged, inference)
        return np.concatenate([given for _, (given,) in self._outputs.over(self._valid, self.bound.splits[1].rows)])

    def _feeds(self, split: Split, variant: int = 0) -> dict[str, Rows]:
        """Return the rows by the tensor that they are fed to: inputs, or cached features in their place."""
        live = self.bound.feeds(split)
        if self.features is None or self.frozen.part is None:
            return live
        direct = {*self.features.direct, self.bound.roles.labels}
        cached = self.features.of(self.bound.splits, split, variant)
        return {**cached, **{name: rows for name, rows in live.items() if name in direct}}

    @property
    def batches(self) -> int:
        """The number of steps in an epoch."""
        return len(self.bounds) - 1

    def at(self, epoch: int) -> "Trainer":
        """Return the trainer of an epoch: this one, or that of the next stage, which starts with the current values."""
        if stage_of(self._stages, epoch) == self.stage:
            return self
        present = self.tensors(self.state.read())
        return Trainer(self.source, self.options, self._callback, epoch, present, self._length, frozen=self._known)

    def follow(self, history: Sequence[Epoch]) -> None:
        """Set what depends on the history: the factor of a performance schedule."""
        plateau = self.options.recipe.plateau if self.options.recipe else None
        if plateau is not None:
            factor = float(self.values[FACTOR].read()) * plateau.factor ** reductions(history, plateau.patience)
            self.state.write({FACTOR: np.array(factor, np.float32)})

    def take(self, epoch: int, first: int, count: int, step: int, total: float = 0.0) -> Steps:
        """Run up to `count` steps of equal batch size from an epoch's batch `first` on; `step` is the first's number.

        The order of the rows depends on the seed and the epoch alone. `total` is the epoch's sum of losses so far.
        """
        rows, order = self._epoch(epoch)
        last, size = even_run(self.bounds, first, count)
        return self._trainer.steps(rows, order[self.bounds[first] : self.bounds[last]], size, self._draws + step, total)

    def batch(self, epoch: int, number: int) -> dict[str, Any]:
        """Return the feeds of one batch: the rows, and the training-mode placeholder."""
        rows, order = self._epoch(epoch)
        numbers = order[self.bounds[number] : self.bounds[number + 1]]
        return {**{name: array[numbers] for name, array in rows.items()}, **mode(self.bound.roles, True)}

    def _epoch(self, epoch: int) -> tuple[dict[str, Rows], Array]:
        """Return the training rows of an epoch (cached variants in turn), and their order.

        If not all rows are in memory, a shuffle buffer is used.
        """
        rows = self._train[self.features.variant_of(epoch) if self.features else 0]
        count, size = self.bound.splits[0].rows, sum(array.nbytes for array in rows.values())
        buffer = None if size <= IN_MEMORY else count * BUFFER // size
        return rows, self._dealt(epoch_order(count, self.options.seed, epoch, buffer), self.bound.splits[0])

    def _dealt(self, order: Array, split: Split) -> Array:
        """Return an order of rows in which rows that the loss compares are in the same batch."""
        asks = batch_loss(self.graph)
        return order if asks is None or asks.pairs is None or split.labels is None else dealt(order, split.labels, asks)

    def score(self) -> Score:
        """Return the score of the validation rows; the caller explains non-finite losses."""
        return self._evaluator.score(self._valid, self.bound.splits[1].rows, self._judged_by)

    def learning_rate(self) -> float | None:
        """Return the current base learning rate of a training op that was added here."""
        return float(self._rate({})[0]) if self._rate else None

    @property
    def left_behind(self) -> list[str]:
        """The model's tensors that the trained graph does not contain."""
        return left_behind(self.source, self.bound)

    def tensors(self, weights: Mapping[str, Array]) -> dict[str, Tensor]:
        """Return the tensors of the checkpoint, given the values of the variables by op name."""
        run = {
            name: Tensor.of(name, stored.joined(weights), stored.dtype)
            for name, stored in stored_tensors(self.graph).items()
            if all(member.op in weights for member in stored.members)
        }
        return {**self.values, **run}
