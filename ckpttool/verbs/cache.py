"""Caching: what the frozen layers compute for every row of a data set, before any training, or read from disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from ckpttool.core.errors import GraphError
from ckpttool.core.names import Pattern
from ckpttool.data.held_out import HeldOut
from ckpttool.model.model import Model
from ckpttool.model.unfreezing import with_unfrozen
from ckpttool.runtime.objectives import Objective
from ckpttool.training.augment import augmentation_of, check_augment
from ckpttool.training.bound import Bound
from ckpttool.training.callbacks.callback import CallbackList, Callbacks, accepts_watch
from ckpttool.training.features import FeatureCache, Features
from ckpttool.training.freezing import freeze_for_training
from ckpttool.training.spread import odd_rows


@accepts_watch
def cache(
    model: Model,
    data: str | Path,
    freeze: str,
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
) -> Features:
    """Return the features of a model's frozen layers for the training and validation rows of a data set.

    They are read from the cache where it has them, else computed and kept there.

    Args:
        model: The model whose layers are frozen.
        data: A path, or one of the other sources of rows.
        freeze: A pattern that takes the frozen layers.
        valid: Which of the training rows are held out, as in the training that will use the features.
        root: The folder of the cache; None is the user's own.
        roles: Names of tensors by role, where they are not found in the graph.
        callbacks: One callback or several, which are called while the cache is filled.
        augment: How images are changed, as in that training, and so are `cache_augment`, `image_shape` and `seed`.
        cache_augment: How many variants of each training row are kept.
        image_shape: Height, width and channels of a row, where the data does not tell.
        seed: The random seed of the draw and of the variants.
        features: What records hold, where they do not tell.
        group: The column of rows that are held out together, as in that training.
        objective: A loss for the outputs of a graph that has none, or another one than it has.
        preprocess: What is done to rows first (`scale(1/127.5, -1)`), if not what the model keeps.
        unfreeze: A pattern of layers that the model itself keeps frozen, and that will be trained again.

    Raises:
        CkptError: the layers, the graph or the data do not fit one another.
    """
    check_augment(augment, True, cache_augment)
    model, _, unfrozen = with_unfrozen(model, unfreeze, roles)
    bound = Bound.of(model, roles, ("inputs", "labels", "loss"), objective=objective).preprocessing(preprocess)
    frozen = freeze_for_training(bound.model.graph, bound.roles, None, Pattern(freeze))
    if frozen.part is None:
        raise GraphError(f"{model.path}: {freeze!r} leaves nothing below the trained layers to cache")
    bound = bound.with_training_rows(data, HeldOut.parse(valid, group, seed), features)
    splits, callback = bound.splits, CallbackList(callbacks)
    callback.on_data(splits)
    callback.on_notes([*unfrozen, *bound.notes, *frozen.notes, *odd_rows(bound, frozen.names)])
    augmentation = augmentation_of(augment, splits[0], image_shape, seed, cache_augment)
    return FeatureCache(frozen.graph, frozen.part, bound.model.checkpoint, splits, augmentation).open(root, callback)
