"""Training: a model, its data and its frozen part, joined and checked, ready to run epochs."""

from collections.abc import Mapping
from math import isfinite
from pathlib import Path

from ckpttool.data.batches import batch_bounds, epoch_order
from ckpttool.data.dataset import Split, training_splits
from ckpttool.errors import CkptError, PlanError
from ckpttool.graph.closure import FrozenPart
from ckpttool.graph.graph import Graph, TensorRef
from ckpttool.graph.roles import Roles, find_roles
from ckpttool.graph.stored import stored_tensors
from ckpttool.runtime.fresh import fresh_tensors
from ckpttool.runtime.function import GraphFunction
from ckpttool.runtime.state import State
from ckpttool.runtime.training import Evaluator, Trainer
from ckpttool.selection import Pattern
from ckpttool.tensors import Array, Tensor
from ckpttool.transfer.cache import FeatureCache, Features
from ckpttool.transfer.feeds import check_classes, feeds, input_specs, label_spec, mode
from ckpttool.transfer.model import Model
from ckpttool.transfer.plan import PlanRow, listed, plan_rows, prefix_note
from ckpttool.transfer.prepare import Frozen, freeze_for_training, trainable_graph
from ckpttool.transfer.run import Epoch, Options
from ckpttool.transfer.watch import Watch


class Training:
    """A model, its data and its frozen part, ready to run epochs."""

    def __init__(self, model: Model, data: str | Path, options: Options, watch: Watch) -> None:
        """Check everything that can be checked before the first step.

        Raises:
            CkptError: the graph, the data or the options do not fit one another.
        """
        self.model, self.options = model, options
        self.frozen, self.graph, self.roles = prepare(model, options)
        if options.cache and self.frozen.part is None:
            raise PlanError("--cache needs frozen layers: name them with --freeze, or the trained ones with --train")
        specs = input_specs(self.graph, self.roles)
        self.splits = training_splits(data, specs, label_spec(self.graph, self.roles), options.valid)
        self.values = _values(model, self.graph, options.seed)
        check_classes(self.graph, self.roles, self.values, self.splits)
        watch.planned(self.plan, self.notes)
        watch.prepared(self.splits)
        self.features = self._features(self.frozen.part, watch) if options.cache and self.frozen.part else None
        self._build()

    def _features(self, part: FrozenPart, watch: Watch) -> Features:
        cache = FeatureCache(self.frozen.graph, part, self.model.checkpoint, self.splits)
        return cache.open(self.options.cache_dir, watch)

    def _build(self) -> None:
        """Import the step and the score, on one set of variables."""
        roles = self.roles
        self.arrays = [self._arrays(split) for split in self.splits]
        fed = [*self.arrays[0], *mode(roles, True)]
        averages = [TensorRef.parse(name).op for name in self.graph.collection("update_ops")]
        updates = [str(roles.training_op), *averages]
        step = GraphFunction(self.graph, [str(roles.loss), *updates], fed, self.options.seed)
        score = GraphFunction(self.graph, [str(roles.loss), *([roles.accuracy] if roles.accuracy else [])], fed)
        needed = {variable.op: variable for variable in [*step.variables, *score.variables]}
        self.state = State(needed.values(), self.values)
        self.trainer = Trainer(step, self.state, mode(roles, True))
        self.evaluator = Evaluator(score, self.state, mode(roles, False))

    def _arrays(self, split: Split) -> dict[str, Array]:
        """Return the rows by the tensor that they are fed to: inputs, or the features that stand for them."""
        live = feeds(self.roles, split)
        if self.features is None or self.frozen.part is None:
            return live
        kept = {*self.frozen.part.direct, self.roles.labels}
        direct = {name: array for name, array in live.items() if name in kept}
        return {**self.features.of(self.splits, split), **direct}

    @property
    def plan(self) -> list[PlanRow]:
        """What happens to each weight."""
        return plan_of(self.graph, self.frozen)

    @property
    def notes(self) -> list[str]:
        """What TensorFlow's own patterns would take besides, and what will not be in the output."""
        patterns = [Pattern(text) for text in (self.options.train, self.options.freeze) if text]
        notes = [note for pattern in patterns for note in prefix_note(pattern, stored_tensors(self.model.graph))]
        if self.left_behind:
            notes.append(f"not needed by the trained graph, so not written: {listed(self.left_behind)}")
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

    def epoch(self, number: int) -> Epoch:
        """Train on all rows once, in an order that only the seed and the epoch decide, and score the model.

        Raises:
            CkptError: the loss is no longer a number.
        """
        options, (train, valid) = self.options, self.splits
        order = epoch_order(train.rows, options.seed, number)
        bounds = batch_bounds(train.rows, options.batch_size)
        loss, seconds = self.trainer.epoch(self.arrays[0], order, bounds)
        score = self.evaluator.score(self.arrays[1], valid.rows)
        for name, value in (("loss", loss), ("validation loss", score.loss)):
            if not isfinite(value):
                raise CkptError(f"the {name} became {value} in epoch {number}: try a lower --lr, or --clip-value")
        return Epoch(number, loss, score.loss, score.accuracy, seconds)


def prepare(model: Model, options: Options) -> tuple[Frozen, Graph, Roles]:
    """Return what will be frozen, and the graph that will be trained and written, with its roles."""
    roles = find_roles(model.graph, **options.roles)
    train, freeze = (Pattern(text) if text else None for text in (options.train, options.freeze))
    frozen = freeze_for_training(model.graph, roles, train, freeze, options.optimizer is None)
    return frozen, *trainable_graph(frozen, roles, options.optimizer, options.seed)


def plan_of(graph: Graph, frozen: Frozen) -> list[PlanRow]:
    """Return the plan of a training: every weight is restored from the model, and trained or frozen."""
    return plan_rows(graph, {name: name for name in stored_tensors(graph)}, frozen.names)


def _values(model: Model, graph: Graph, seed: int) -> dict[str, Tensor]:
    """Return a value for each variable of a graph: the checkpoint's, and fresh ones for new slots.

    Raises:
        PlanError: the checkpoint lacks a weight.
    """
    stored = stored_tensors(graph)
    absent = [name for name in stored if name not in model.checkpoint]
    weights = [name for name in absent if stored[name].kind == "weight"]
    if weights:
        raise PlanError(f"{model.path}: the graph has {weights[0]}, the checkpoint does not")
    fresh = fresh_tensors(graph, absent, seed)
    return {name: fresh.get(name) or model.checkpoint[name] for name in stored}
