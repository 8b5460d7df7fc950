"""Fine-tuning: the layers that are not frozen are trained on a data set, from start to proof."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from ckpttool import checkpoint
from ckpttool.data.batches import batch_bounds, epoch_order
from ckpttool.data.dataset import Split, training_splits
from ckpttool.data.fingerprint import fingerprint
from ckpttool.errors import CkptError, PlanError
from ckpttool.formats.files import refuse_existing
from ckpttool.graph.graph import Graph, TensorRef
from ckpttool.graph.roles import Roles, find_roles
from ckpttool.graph.stored import stored_tensors
from ckpttool.runtime.fresh import fresh_tensors
from ckpttool.runtime.function import GraphFunction
from ckpttool.runtime.optimizers import Optimizer
from ckpttool.runtime.state import State
from ckpttool.runtime.training import Evaluator, Trainer
from ckpttool.selection import Pattern
from ckpttool.surgery.verify import changed_tensors
from ckpttool.tensors import Array, Tensor
from ckpttool.transfer.cache import FeatureCache, Features
from ckpttool.transfer.feeds import check_classes, feeds, input_specs, label_spec, mode
from ckpttool.transfer.model import Model, outputs_of, write_model
from ckpttool.transfer.plan import PlanRow, plan_rows
from ckpttool.transfer.prepare import Frozen, freeze_for_training, trainable_graph
from ckpttool.transfer.report import report_path, write_report
from ckpttool.transfer.watch import Watch


@dataclass(frozen=True)
class Options:
    """How to train. `optimizer` None trains with the graph's own training op, `roles["training_op"]`."""

    train: str | None = None
    freeze: str | None = None
    optimizer: Optimizer | None = field(default_factory=Optimizer)
    epochs: int = 20
    batch_size: int = 200
    seed: int = 42
    valid: int | None = None
    cache: bool = False
    cache_dir: Path | None = None
    keep: Literal["best", "last"] = "best"
    roles: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, optimizer: Optimizer, train_op: str | None, roles: Mapping[str, Any], **more: Any) -> "Options":
        """Join an optimizer with the name of a training op that replaces it, as the command line gives them."""
        if train_op is None:
            return cls(optimizer=optimizer, roles=roles, **more)
        return cls(optimizer=None, roles={**roles, "training_op": train_op}, **more)


@dataclass(frozen=True)
class Epoch:
    """One line of the history; `seconds` is the training part of the epoch alone."""

    epoch: int
    loss: float
    valid_loss: float
    valid_accuracy: float | None
    seconds: float


@dataclass(frozen=True)
class Run:
    """What a run did: its plan, its history, and the epoch whose weights were written (counted from 1)."""

    plan: list[PlanRow]
    history: list[Epoch]
    kept: Epoch
    best: Epoch
    features: Features | None
    unchanged: tuple[str, ...]

    def summary(self) -> dict[str, Any]:
        """Return what `finetune --json` prints."""
        return {
            "plan": [row.as_json() for row in self.plan],
            "history": [asdict(epoch) for epoch in self.history],
            "best_epoch": self.best.epoch,
            "kept_epoch": self.kept.epoch,
            "cache": self.features.summary() if self.features else None,
            "unchanged": list(self.unchanged),
        }

    def lines(self, output: Path) -> list[str]:
        """Return what was written and proved, for a person."""
        which = "the best" if self.kept is self.best else f"the last; the best was {self.best.epoch}"
        accuracy = "" if self.kept.valid_accuracy is None else f", accuracy {self.kept.valid_accuracy:.4f}"
        proof = f"{len(self.unchanged)} frozen tensors are byte-equal" if self.unchanged else "nothing was frozen"
        return [f"{output}: epoch {self.kept.epoch} ({which}){accuracy}; {proof}"]


class Training:
    """A model, its data and its frozen part, ready to run epochs."""

    def __init__(self, model: Model, data: Path, options: Options, watch: Watch) -> None:
        """Check everything that can be checked before the first step.

        Raises:
            CkptError: the graph, the data or the options do not fit one another.
        """
        self.model, self.options = model, options
        self.frozen, self.graph, self.roles = prepare(model, options)
        specs = input_specs(self.graph, self.roles)
        self.splits = training_splits(data, specs, label_spec(self.graph, self.roles), options.valid)
        self.values = _values(model, self.graph, options.seed)
        check_classes(self.graph, self.roles, self.values, self.splits)
        watch.planned(plan_of(self.graph, self.frozen), self.splits[0].notes)
        self.features = self._features(watch) if options.cache else None
        self._build()

    def _features(self, watch: Watch) -> Features:
        if self.frozen.part is None:
            raise PlanError("--cache needs frozen layers: name them with --freeze, or the trained ones with --train")
        cache = FeatureCache(self.frozen.graph, self.frozen.part, self.model.checkpoint, self.splits)
        return cache.open(self.options.cache_dir, watch)

    def _build(self) -> None:
        """Import the step and the score, on one set of variables."""
        roles = self.roles
        self.arrays = [self._arrays(split) for split in self.splits]
        fed = [*self.arrays[0], *mode(roles, True)]
        averages = [TensorRef.parse(name).op for name in self.graph.collection("update_ops")]
        updates = [str(roles.training_op), *averages]
        step = GraphFunction(self.graph, [str(roles.loss), *updates], fed)
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
        if not isfinite(loss):
            raise CkptError(f"the loss became {loss} in epoch {number}: try a lower --lr, or --clip-value")
        score = self.evaluator.score(self.arrays[1], valid.rows)
        return Epoch(number, loss, score.loss, score.accuracy, seconds)


def finetune(
    model: Model,
    data: Path,
    options: Options,
    output: Path,
    overwrite: bool = False,
    watch: Watch | None = None,
) -> Run:
    """Train a model, write the best epoch (or the last) under `output`, and prove that frozen tensors stayed.

    Raises:
        CkptError: something does not fit; nothing is written then.
    """
    refuse_existing([*outputs_of(output), report_path(output)], overwrite)
    watch = watch or Watch()
    training = Training(model, data, options, watch)
    history: list[Epoch] = []
    for number in range(1, options.epochs + 1):
        history.append(training.epoch(number))
        watch.finished(history[-1])
        if history[-1] is (history[-1] if options.keep == "last" else best_of(history)):
            kept, weights = history[-1], training.state.read()
    write_model(training.graph, training.tensors(weights), output, overwrite)
    run = Run(
        plan_of(training.graph, training.frozen),
        history,
        kept,
        best_of(history),
        training.features,
        _prove(training, output),
    )
    write_report(output, _report(training, run, data))
    return run


def best_of(history: Sequence[Epoch]) -> Epoch:
    """Return the first epoch with the highest validation accuracy, or the lowest validation loss without one."""
    return max(history, key=lambda epoch: -epoch.valid_loss if epoch.valid_accuracy is None else epoch.valid_accuracy)


def _prove(training: Training, output: Path) -> tuple[str, ...]:
    """Check that every frozen tensor of the output has the bytes it had in the model; return their names.

    Raises:
        CkptError: one has changed.
    """
    frozen = [name for name in training.frozen.names if name in training.model.checkpoint]
    changed = changed_tensors(training.model.checkpoint, checkpoint.open(output), frozen)
    if changed:
        raise CkptError(f"{output}: frozen tensors have changed: {', '.join(changed)}")
    return tuple(frozen)


def _report(training: Training, run: Run, data: Path) -> dict[str, Any]:
    """Return what the run report says, but for the versions."""
    return {
        "model": str(training.model.path),
        "plan": [row.as_json() for row in run.plan],
        "options": asdict(training.options),
        "data": {
            "path": str(data),
            "fingerprint": {split.name: fingerprint(split) for split in training.splits},
            "rows": {split.name: split.rows for split in training.splits},
            "preprocessing": list(training.splits[0].notes),
        },
        "cache": str(run.features.entry.path) if run.features else None,
        "unchanged": list(run.unchanged),
        "best_epoch": run.best.epoch,
        "kept_epoch": run.kept.epoch,
        "history": [asdict(epoch) for epoch in run.history],
    }


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


def plan(model: Model, options: Options) -> list[PlanRow]:
    """Return the plan of a run without running it.

    Raises:
        CkptError: the graph and the options do not fit one another.
    """
    frozen, graph, _ = prepare(model, options)
    return plan_of(graph, frozen)


def prepare(model: Model, options: Options) -> tuple[Frozen, Graph, Roles]:
    """Return what will be frozen, and the graph that will be trained and written, with its roles."""
    roles = find_roles(model.graph, **options.roles)
    train, freeze = (Pattern(text) if text else None for text in (options.train, options.freeze))
    frozen = freeze_for_training(model.graph, roles, train, freeze, options.optimizer is None)
    return frozen, *trainable_graph(frozen, roles, options.optimizer, options.seed)


def plan_of(graph: Graph, frozen: Frozen) -> list[PlanRow]:
    """Return the plan of a training: every weight is restored from the model, and trained or frozen."""
    return plan_rows(graph, {name: name for name in stored_tensors(graph)}, frozen.names)
