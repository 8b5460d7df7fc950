"""Caching: compute the outputs of frozen layers for every row before training, or read them from disk."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ckpttool.core.errors import GraphError
from ckpttool.core.patterns import Pattern
from ckpttool.data.feature_parts import Destination, Part, Range
from ckpttool.data.files import InMemory, Source
from ckpttool.data.held_out import HeldOut
from ckpttool.executors.executor import Executor
from ckpttool.model.model import Model
from ckpttool.model.unfreezing import with_unfrozen
from ckpttool.runtime.objectives import Objective
from ckpttool.training.augment import augmentation_of, check_augment
from ckpttool.training.bound import Bound
from ckpttool.training.callbacks.callback import CallbackList, Callbacks, accepts_watch
from ckpttool.training.feature_cache import FeatureCache
from ckpttool.training.features import Features
from ckpttool.training.filling import Elsewhere, writing
from ckpttool.training.freezing import freeze_for_training
from ckpttool.training.spread import odd_rows
from ckpttool.training.worker_model import WorkerModel, as_items


@accepts_watch
def cache(
    model: Model,
    data: Source,
    freeze: str,
    *,
    valid: int | str | None = None,
    root: str | Path | None = None,
    roles: Mapping[str, str] | None = None,
    callbacks: Callbacks = (),
    augment: str | None = None,
    cache_augment: int | None = None,
    image_shape: Sequence[int] | None = None,
    seed: int = 42,
    features: str | None = None,
    group: str | None = None,
    objective: Objective | None = None,
    preprocess: str | None = None,
    unfreeze: str | None = None,
    executor: Executor | None = None,
) -> Features:
    """Return the features of a model's frozen layers for the training and validation rows of a data set.

    They are read from the cache, or computed and stored there.

    Args:
        model: The model whose layers are frozen.
        data: A path, or one of the other sources of rows.
        freeze: A pattern of the frozen layers.
        valid: The training rows to hold out, as in the run that will use the features.
        root: The folder of the cache; None is the user's own. A URL (s3://bucket/features) is a cache shared by
            machines, each of which also stores what it uses in its own cache folder.
        roles: Names of tensors by role, if they are not detected in the graph.
        callbacks: One callback or several, called while the cache is filled.
        augment: The augmentation of images, as in that run; so are `cache_augment`, `image_shape` and `seed`.
        cache_augment: The number of variants of each training row.
        image_shape: Height, width and channels of a row, if the data does not determine them.
        seed: The random seed of the hold-out and of the variants.
        features: The features of records, if ambiguous.
        group: The column by which rows are held out together, as in that run.
        objective: A loss for the outputs of a graph that has none, or in place of its own.
        preprocess: The preprocessing of rows (`scale(1/127.5, -1)`), if not the one stored in the model.
        unfreeze: A pattern of layers that the model itself keeps frozen, but that will be trained.
        executor: Where the features are computed, if not in this process: by workers that open model and data, and
            write to the cache.

    Raises:
        CkptError: the layers, the graph and the data are inconsistent.
    """
    check_augment(augment, True, cache_augment)
    asked = FeatureRequest(
        data=data if isinstance(data, InMemory) else str(data),
        held_out=HeldOut.parse(valid, group, seed),
        features=features,
        preprocess=preprocess,
        freeze=freeze,
        unfreeze=unfreeze,
        roles=as_items(roles or {}),
        objective=objective,
        augment=augment,
        variants=cache_augment,
        image_shape=tuple(image_shape) if image_shape else None,
        seed=seed,
    )
    wanted, notes = asked.of(model)
    callback = CallbackList(callbacks)
    callback.on_data(wanted.splits)
    callback.on_notes([*notes, *(executor.notes if executor else ())])
    elsewhere = None
    if executor is not None:
        worker_model = WorkerModel.of(model, wanted.facts())
        elsewhere = Elsewhere(executor, partial(FillFactory, worker_model, asked))
    return wanted.open(root, callback, elsewhere)


@dataclass(frozen=True)
class FeatureRequest:
    """A request: the features to compute, and for which rows; it can be sent to any process."""

    data: str | InMemory
    held_out: HeldOut
    features: str | None
    preprocess: str | None
    freeze: str
    unfreeze: str | None
    roles: tuple[tuple[str, Any], ...]
    objective: Objective | None
    augment: str | None
    variants: int | None
    image_shape: tuple[int, ...] | None
    seed: int

    def of(self, model: Model) -> tuple[FeatureCache, list[str]]:
        """Find the frozen layers of a model, open the rows, and return the request and notes.

        Raises:
            CkptError: they are inconsistent.
        """
        roles = dict(self.roles)
        model, _, unfrozen = with_unfrozen(model, self.unfreeze, roles)
        bound = Bound.of(model, roles, ("inputs", "labels", "loss"), objective=self.objective)
        bound = bound.preprocessing(self.preprocess)
        frozen = freeze_for_training(bound.model.graph, bound.roles, None, Pattern(self.freeze))
        if frozen.part is None:
            raise GraphError(f"{model.path}: {self.freeze!r} leaves nothing below the trained layers to cache")
        bound = bound.with_training_rows(self.data, self.held_out, self.features)
        splits = bound.splits
        augmentation = augmentation_of(self.augment, splits[0], self.image_shape, self.seed, self.variants)
        cache = FeatureCache(frozen.graph, frozen.part, bound.model.checkpoint, splits, augmentation)
        return cache, [*unfrozen, *bound.notes, *frozen.notes, *odd_rows(bound, frozen.names)]


@dataclass(frozen=True)
class FillFactory:
    """Makes the function of a worker, which computes the features of some rows and writes them in place."""

    model: WorkerModel
    asked: FeatureRequest
    destination: Destination

    def __call__(self) -> Callable[[Range], Part]:
        """Open the model and the rows.

        Raises:
            GraphError: they differ from those of the requesting process.
        """
        wanted, _ = self.asked.of(self.model.open())
        self.model.check(wanted.facts())
        return writing(wanted, self.destination)
