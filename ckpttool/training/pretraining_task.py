"""The task of pretraining: layers in stages, a method, and the rows that they are trained on."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import DataError, PlanError
from ckpttool.data.dataset import training_splits
from ckpttool.data.files import InputSpec, Source
from ckpttool.model.model import Model
from ckpttool.runtime.pretraining.graphs import INPUTS, LABELS, Images, rows_alone
from ckpttool.runtime.pretraining.methods import PretrainingMethod
from ckpttool.runtime.recipe import Recipe
from ckpttool.runtime.spec import LayerSpec, parse
from ckpttool.training.bound import Bound
from ckpttool.training.options import Options
from ckpttool.training.pretraining import Grown, Stage, images_for, stages_of
from ckpttool.training.reconstruction import Trained

LAST = "last:10%"
"""The default hold-out if the positions of rows matter."""
OPTIMIZER, BATCH_SIZE = "adam", 100
"""The default optimizer and batch size."""


@dataclass(frozen=True)
class PretrainingTask:
    """What is pretrained: the stages of a method, the layers above without weights, and the initial layers."""

    method: PretrainingMethod
    options: Options
    shape: Sequence[int] | None
    stages: Sequence[Stage]
    rest: Sequence[LayerSpec]
    start: Grown
    bound: Bound
    images: Images | None

    @classmethod
    def of(
        cls,
        data: Source,
        layers: str | None,
        method: PretrainingMethod,
        options: Options,
        shape: Sequence[int] | None,
        model: Model | None,
        after: str | None,
        end_to_end: bool,
    ) -> Self:
        """Find the stages, and bind the initial layers to the rows.

        Raises:
            CkptError: the layers, the method and the rows are inconsistent.
        """
        if layers is None and model is None:
            raise PlanError("nothing to train: specify `layers`, or a `model` whose layers are trained")
        stages, rest = stages_of(parse(layers) if layers else [], method, end_to_end)
        start, bound, options = _begun(data, method, options, shape, model, after)
        images = images_for(method, bound.splits[0], shape, options)
        return cls(method, options, shape, stages, rest, start, bound, images)

    @property
    def asked(self) -> dict[str, Any]:
        """What must be the same when pretraining is resumed, besides its inputs."""
        return {"method": str(self.method), "shape": self.shape, **self.options.lasting()}

    @property
    def layout(self) -> Sequence[int] | None:
        """The shape of rows as images, if specified."""
        return self.options.image_shape or (self.shape if self.shape and len(self.shape) > 1 else None)

    def stage(self, number: int, grown: Grown, trained: Sequence[Trained]) -> tuple[Model, Grown, Options]:
        """Return the model that trains a stage, the layers up to it, and the options of its run.

        The layers below a layer-wise stage are frozen, and computed once unless images are augmented in each epoch.
        When all layers are trained together, they start with the decoders that were `trained` with each.
        """
        stage, options, seed = self.stages[number], self.options, self.options.seed
        below = self.start if stage.together else grown
        frozen = below.values if self.method.layerwise else {}
        grown = grown.with_stage(stage.before, seed).with_stage(stage.layers, seed + number)
        decoders = {name: tensor for each in trained for name, tensor in each.decoder().items()}
        model = grown.to_train(self.method, stage, seed, self.images, decoders)
        cached = bool(frozen) and options.augment is None
        own = replace(options, freeze="|".join(map(re.escape, frozen)) or None, cache=cached)
        own = replace(own, augment=None) if self.method.augments else own
        return model, grown, replace(own, image_shape=None) if own.augment is None else own


def with_defaults(options: Options) -> Options:
    """Return the options with defaults filled in: the same for all stages, whatever the number of rows."""
    recipe = options.recipe or Recipe()
    recipe = recipe if recipe.optimizer else replace(recipe, optimizer=OPTIMIZER)
    return replace(options, recipe=recipe, batch_size=options.batch_size or BATCH_SIZE)


def _begun(
    data: Source,
    method: PretrainingMethod,
    options: Options,
    shape: Sequence[int] | None,
    model: Model | None,
    after: str | None,
) -> tuple[Grown, Bound, Options]:
    """Return the layers below the new ones (none without a model), the rows that are fed to them, and the options.

    If rows are compared by position, the last ones are held out by default.
    """
    given, options = options, _held_out(method, options)
    if model is None and shape is None:  # rows keep their stored shape
        rows = Bound.of(Model(Path(INPUTS), rows_alone(), Checkpoint.of({})), needed=("inputs",))
        split = (
            rows.preprocessing(options.preprocess).with_rows_alone(data, options.held_out, options.features).splits[0]
        )
        shape = split.inputs[INPUTS].shape[1:]
    grown = Grown.of_model(model, after) if model else Grown.of_rows(shape or ())
    start = Model(model.path if model else Path(INPUTS), grown.graph, Checkpoint.of(grown.values))
    bound = Bound.of(start, needed=("inputs",)).preprocessing(options.preprocess)
    bound = bound.with_rows_alone(data, options.held_out, options.features)
    if method.compares and method.compares.pairs == "label":
        _require_labels(data, bound, method, options)
    return grown, bound, options if bound.splits[1].sides else replace(options, valid=given.valid)


def _held_out(method: PretrainingMethod, options: Options) -> Options:
    """Return the options with the hold-out that a method needs.

    Raises:
        PlanError: the options specify another one.
    """
    told = method.compares.pairs if method.compares else None
    if told == "group" and options.group is None:
        raise PlanError(f"`method` {method} needs `group`, a column, or an expression for the names of images")
    if told != "place":
        return options
    if options.valid is None and options.group is None:
        return replace(options, valid=LAST)
    if options.held_out.place == "drawn":
        other = f"hold out the last with `valid` {LAST}" + "; groups are compared by `by=group`" * bool(options.group)
        raise PlanError(f"`method` {method} compares rows by their places, and rows drawn among them are none: {other}")
    return options


def _require_labels(data: Source, bound: Bound, method: PretrainingMethod, options: Options) -> None:
    """Check that rows have labels, for a method that needs them.

    Raises:
        DataError: they have none.
    """
    labels = InputSpec(LABELS, (None,), BY_NAME["int64"])
    wanted = replace(bound.wanted(options.features, labels=False), labels=labels, beside=())
    try:
        training_splits(data, wanted, options.held_out)
    except DataError as error:
        raise DataError(f"{error}; `method` {method.name} needs labels, which are numbers or names") from error
