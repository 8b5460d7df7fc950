"""Training: a model, its data and its frozen part, joined and checked, ready to take steps."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ckpttool.core.casting import cast_tensor
from ckpttool.core.errors import PlanError
from ckpttool.core.names import Pattern, listed
from ckpttool.core.tensors import Array, DType, Tensor
from ckpttool.data.batches import batch_bounds, epoch_order, even_run
from ckpttool.data.dataset import Split, empty_classes, training_splits
from ckpttool.data.rows import IN_MEMORY
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.freezing.closure import FrozenPart
from ckpttool.graph.roles.roles import find_roles
from ckpttool.model.model import Model
from ckpttool.model.plan import prefix_note
from ckpttool.runtime.fresh import fresh_tensors
from ckpttool.runtime.function import GraphFunction, runner
from ckpttool.runtime.schedules import FACTOR, RATE, RunSteps
from ckpttool.runtime.state import State
from ckpttool.runtime.training import Evaluator, Score, Steps, Trainer
from ckpttool.training.augment import Augmentation, augmentation_of, check_augment
from ckpttool.training.callbacks.callback import Callback
from ckpttool.training.feature_cache import FeatureCache
from ckpttool.training.features import Features
from ckpttool.training.feeds import check_classes, feeds, mode, wanted
from ckpttool.training.prepare import prepare
from ckpttool.training.run import Epoch, Options, reductions
from ckpttool.training.stages import stage_of

GLOBAL_STEP = "global_step"
BUFFER = IN_MEMORY // 4
"""Bytes of rows that are shuffled together where not all are in memory."""
Splits = tuple[Split, Split]


class Training:
    """A model, its data and its frozen part, ready to take the steps of one stage."""

    def __init__(
        self,
        model: Model,
        splits: Splits,
        options: Options,
        callback: Callback,
        epoch: int = 1,
        values: Mapping[str, Tensor] | None = None,
        length: int | None = None,
    ) -> None:
        """Take the rows, and the values to begin with at an epoch (the model's own if not given); check all of it.

        `length` is the steps of the run, for schedules as long as that, if they are not those of its epochs.

        Raises:
            CkptError: the graph, the data or the options do not fit one another.
        """
        self.model, self.splits, self.options, self._callback, self._length = model, splits, options, callback, length
        self._stages = options.all_stages()
        self.stage = stage_of(self._stages, epoch)
        self.epochs = sum(stage.epochs for stage in self._stages)
        self.bounds = batch_bounds(splits[0].rows, options.batch_size)
        self._augmentation = _augmentation(splits[0], options)
        span = RunSteps(first_step(model), length or self.epochs * self.batches)
        prepared = prepare(model, options, self._stages[self.stage].train, span)
        self.frozen, self.graph, self.roles, self.plan = prepared.frozen, prepared.graph, prepared.roles, prepared.plan
        if options.cache and self.frozen.part is None:
            raise PlanError("--cache needs frozen layers: name them with --freeze, or the trained ones with --train")
        self.values = _values(model, self.graph, values or {}, options.seed)
        row = check_classes(self.graph, self.roles, self.values, self.splits)
        self._empty = empty_classes(splits[0], row[-1]) if row else []
        callback.on_plan(self.plan, self.notes)
        callback.on_data(self.splits)
        self.features = self._features(self.frozen.part) if options.cache and self.frozen.part else None
        self._build()
        callback.on_graph(self.graph)

    @property
    def batches(self) -> int:
        """The number of steps in an epoch."""
        return len(self.bounds) - 1

    def at(self, epoch: int) -> "Training":
        """Return what trains an epoch: this, or the next stage, which begins with the present values."""
        if stage_of(self._stages, epoch) == self.stage:
            return self
        present = self.tensors(self.state.read())
        return Training(self.model, self.splits, self.options, self._callback, epoch, present, self._length)

    def _features(self, part: FrozenPart) -> Features:
        cache = FeatureCache(self.frozen.graph, part, self.model.checkpoint, self.splits, self._augmentation)
        return cache.open(self.options.cache_dir, self._callback)

    def _build(self) -> None:
        """Import the step and the score, on one set of variables."""
        roles, seed = self.roles, self.options.seed
        train, valid = self.splits
        variants = self.features.variants if self.features else 1
        self._train = [self._arrays_of(train, variant) for variant in range(variants)]
        self._valid = self._arrays_of(valid)
        fed = [*self._valid, *mode(roles, True)]
        averages = [TensorRef.parse(name).op for name in self.graph.collection("update_ops")]
        updates = [str(roles.training_op), *averages]
        step = GraphFunction(self.graph, [str(roles.loss), *updates], fed, seed, mode(roles, True))
        scores = [str(roles.loss), *([roles.accuracy] if roles.accuracy else [])]
        score = GraphFunction(self.graph, scores, fed, modes=mode(roles, False))
        needed = {variable.op: variable for variable in [*step.variables, *score.variables]}
        self.state = State(needed.values(), self.values)
        augment = self._augmentation.prepare if self._augmentation and not self.features else None
        self._trainer = Trainer(step, self.state, mode(roles, True), augment)
        self._evaluator = Evaluator(score, self.state, mode(roles, False))
        self._rate = self._runner_of([RATE]) if TensorRef.parse(RATE).op in self.graph.nodes else None

    def _runner_of(self, tensors: list[str]) -> Any:
        return runner(GraphFunction(self.graph, tensors), self.state, {})

    def _arrays_of(self, split: Split, variant: int = 0) -> dict[str, Any]:
        """Return the rows by the tensor that they are fed to: inputs, or the features that stand for them."""
        live = feeds(self.roles, split)
        if self.features is None or self.frozen.part is None:
            return live
        kept = {*self.frozen.part.direct, self.roles.labels}
        direct = {name: array for name, array in live.items() if name in kept}
        return {**self.features.of(self.splits, split, variant), **direct}

    def _rows(self, epoch: int) -> dict[str, Any]:
        """Return the rows that an epoch trains on: of cached features one variant after the other."""
        return self._train[self.features.variant_of(epoch) if self.features else 0]

    def follow(self, history: Sequence[Epoch]) -> None:
        """Set what depends on how the epochs went: the factor of a rate that follows the performance."""
        plateau = self.options.recipe.plateau if self.options.recipe else None
        if plateau is not None:
            began = float(self.values[FACTOR].read())
            self.state.write(
                {FACTOR: np.array(began * plateau.factor ** reductions(history, plateau.patience), np.float32)}
            )

    def take(self, epoch: int, first: int, count: int, step: int, total: float = 0.0) -> Steps:
        """Take up to `count` steps from an epoch's batch `first` on, all of one size; `step` is the first's number.

        The order of the rows follows from the seed and the epoch alone. `total` is the epoch's sum of losses so far.
        """
        order = self._order(epoch)
        last, size = even_run(self.bounds, first, count)
        return self._trainer.steps(self._rows(epoch), order[self.bounds[first] : self.bounds[last]], size, step, total)

    def _order(self, epoch: int) -> Array:
        """Return the order of the rows in an epoch; rows that are not all in memory go through a shuffle buffer."""
        rows, size = self.splits[0].rows, sum(array.nbytes for array in self._rows(epoch).values())
        buffer = None if size <= IN_MEMORY else rows * BUFFER // size
        return epoch_order(rows, self.options.seed, epoch, buffer)

    def score(self) -> Score:
        """Score the validation rows; a loss that is no number is for the caller to explain."""
        return self._evaluator.score(self._valid, self.splits[1].rows)

    def learning_rate(self) -> float | None:
        """Return the present base rate of a training op that is ours."""
        return float(self._rate({})[0]) if self._rate else None

    def batch(self, epoch: int, number: int) -> dict[str, Array]:
        """Return the rows of one batch by the tensors that they are fed to, and the training switch."""
        order = self._order(epoch)
        rows = order[self.bounds[number] : self.bounds[number + 1]]
        return {**{name: array[rows] for name, array in self._rows(epoch).items()}, **mode(self.roles, True)}

    @property
    def notes(self) -> list[str]:
        """What TensorFlow's own patterns would take besides, what will not be in the output, what cannot be learnt."""
        patterns = [Pattern(text) for text in (self._stages[self.stage].train, self.options.freeze) if text]
        notes = [note for pattern in patterns for note in prefix_note(pattern, stored_tensors(self.model.graph))]
        if self.left_behind:
            notes.append(f"not needed by the trained graph, so not written: {listed(self.left_behind)}")
        if self._empty:
            notes.append(f"no training row has the label {listed([str(number) for number in self._empty])}")
        return notes

    @property
    def left_behind(self) -> list[str]:
        """The model's tensors that the trained graph does not hold: an old optimizer's slots, ops beside the loss."""
        return [name for name in self.model.checkpoint if name not in self.values]

    def tensors(self, weights: Mapping[str, Array]) -> dict[str, Tensor]:
        """Return what the checkpoint will hold, given the values of the variables that ran, by op name."""
        run = {
            name: Tensor.of(name, stored.joined(weights), stored.dtype)
            for name, stored in stored_tensors(self.graph).items()
            if all(member.op in weights for member in stored.members)
        }
        return {**self.values, **run}


def _augmentation(train: Split, options: Options) -> Augmentation | None:
    """Return how the training rows are augmented, where they are."""
    check_augment(options.augment, options.cache, options.cache_augment)
    return augmentation_of(options.augment, train, options.image_shape, options.seed, options.cache_augment)


def open_splits(model: Model, data: str | Path, options: Options) -> Splits:
    """Return the rows to train on and those to validate on, fitted to a model's placeholders.

    Raises:
        DataError: they do not fit.
    """
    roles = find_roles(model.graph, needed=("inputs", "labels"), **options.roles)
    return training_splits(data, wanted(model.graph, roles, options.features), options.valid)


def first_step(model: Model) -> int:
    """Return how many steps a model says that it was trained for."""
    return int(model.checkpoint[GLOBAL_STEP].read()) if GLOBAL_STEP in model.checkpoint else 0


def _values(model: Model, graph: Graph, present: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Return a value for each variable of a graph: a present one, else the checkpoint's, else a new slot's fresh one.

    Raises:
        PlanError: the checkpoint lacks a weight.
    """
    stored = stored_tensors(graph)
    found = {name: present.get(name) or model.checkpoint.get(name) for name in stored}
    weights = [name for name, tensor in found.items() if tensor is None and stored[name].kind == "weight"]
    if weights:
        raise PlanError(f"{model.path}: the graph has {weights[0]}, the checkpoint does not")
    fresh = fresh_tensors(graph, [name for name, tensor in found.items() if tensor is None], seed)
    values = {name: tensor or fresh[name] for name, tensor in found.items()}
    return {name: _as_graph_has_it(stored[name].kind, tensor, stored[name].dtype) for name, tensor in values.items()}


def _as_graph_has_it(kind: str, tensor: Tensor, dtype: DType) -> Tensor:
    """Return a tensor; a step counter in the dtype of the graph's, which may be another one than its author chose."""
    return cast_tensor(tensor, dtype) if kind == "step" else tensor
