"""The stages of pretraining: which layers are trained together, on what, and the graph that each stage trains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.names import Pattern
from ckpttool.core.tensors import Tensor
from ckpttool.data.splits import Split
from ckpttool.graph.contents.keras_network import keras_network, with_keras_network
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.graph.roles.resolve import find_roles, with_roles
from ckpttool.model.model import Model
from ckpttool.runtime.augmenter import Augmenter
from ckpttool.runtime.pretraining.graphs import rows_alone, with_layers, with_method
from ckpttool.runtime.pretraining.method import Method
from ckpttool.runtime.spec import LayerSpec
from ckpttool.runtime.state import fresh_tensors
from ckpttool.training.augment import augmentation_of, image_shape_of, input_of_images
from ckpttool.training.heads import place_above, restored_variables, trunk_of
from ckpttool.training.options import Options


@dataclass(frozen=True)
class Stage:
    """Layers that are trained together; `before` are those without weights that lie below them."""

    before: tuple[LayerSpec, ...]
    layers: tuple[LayerSpec, ...]

    @property
    def name(self) -> str:
        """The name of its first layer; without new ones it is the model's that are trained."""
        return self.layers[0].name if self.layers else "all layers"


def stages_of(layers: Sequence[LayerSpec], method: Method) -> tuple[list[Stage], tuple[LayerSpec, ...]]:
    """Return the stages in which a method trains layers, and the layers on top that have nothing to train.

    A layer-wise method has a stage for each layer with a kernel, with what changes no shape behind it.

    Raises:
        PlanError: no layer has a kernel.
    """
    if not method.layerwise:
        return [Stage((), tuple(layers))], ()
    if not any(spec.layer.has_kernel for spec in layers):
        raise PlanError(f"{method.name} trains new layers with weights, one after the other: `layers` has none")
    stages: list[Stage] = []
    waiting: list[LayerSpec] = []
    for spec in layers:
        if spec.layer.has_kernel:
            stages.append(Stage(tuple(waiting), (spec,)))
            waiting = []
        elif stages and not waiting and spec.layer.keeps_shape:
            stages[-1] = replace(stages[-1], layers=(*stages[-1].layers, spec))
        else:
            waiting.append(spec)
    return stages, tuple(waiting)


@dataclass(frozen=True)
class Views:
    """How rows are laid out as images (height, width, channels), and what makes views of them, where that is known."""

    images: tuple[int, int, int] | None = None
    augmenter: Augmenter | None = None

    @classmethod
    def of(cls, method: Method, split: Split, shape: Sequence[int] | None, options: Options) -> Self:
        """Return the views of rows that a method asks for.

        Raises:
            PlanError: the rows are no images that are known, or nothing is said that could be done to them.
        """
        if not method.on_images:
            return cls()
        layout = options.image_shape or (shape if shape and len(shape) > 1 else None)
        augmentation = augmentation_of(options.augment, split, layout, options.seed) if method.augments else None
        augmenter = augmentation.augmenter if augmentation else None
        name = input_of_images(split)
        return cls(image_shape_of(split, name, layout, f"`method` {method.name}"), augmenter)


@dataclass(frozen=True)
class Grown:
    """Layers that are put on one another so far: their graph, what the top of them gives, and their values."""

    graph: Graph
    top: str
    values: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()

    @classmethod
    def of_rows(cls, shape: Sequence[int]) -> Self:
        """Return no layers yet, on rows of a shape."""
        graph = rows_alone(shape)
        return cls(graph, find_roles(graph, needed=("inputs",)).inputs[0], {})

    @classmethod
    def of_model(cls, model: Model, after: str | None, inputs: Sequence[str] = ()) -> Self:
        """Return the layers of a model up to one of them, all if none is named; what is above is left behind.

        Raises:
            UnknownName: there is no such layer.
            GraphError: what it gives is not known.
        """
        model = model.thawed()
        place = place_above(model.graph, restored_variables(model, Pattern(".*")), after, inputs)
        trunk = trunk_of(place)
        trunk = with_roles(trunk, replace(find_roles(trunk, ("inputs",)), logits=None, loss=None, labels=None))
        if network := keras_network(model.graph):
            trunk = with_keras_network(trunk, network.cut_after(place.output))
        held = stored_tensors(trunk)
        return cls(trunk, place.output, {name: model.checkpoint[name] for name in held}, tuple(place.fed.notes))

    def with_stage(self, layers: Sequence[LayerSpec], seed: int) -> Self:
        """Return these with more layers on them, which start at random."""
        if not layers:
            return self
        graph, top = with_layers(self.graph, self.top, layers, seed)
        new = [name for name in stored_tensors(graph) if name not in self.values]
        return replace(self, graph=graph, top=top, values={**self.values, **fresh_tensors(graph, new, seed)})

    def with_values(self, values: Mapping[str, Tensor]) -> Self:
        """Return these with the values that others have found for their variables."""
        return replace(self, values={name: values[name] for name in self.values})

    def to_train(self, method: Method, stage: Stage, given: str, seed: int, views: Views, path: Path) -> Model:
        """Return the model that trains a stage by a method: its layers, what they see, and the method's loss.

        Raises:
            PlanError: the layers are of no kind that the method is for.
        """
        if not method.layerwise:
            (given,) = find_roles(self.graph, needed=("inputs",)).inputs
        graph = with_method(self.graph, method, given, self.top, stage.name, seed, views.images, views.augmenter)
        new = [name for name in stored_tensors(graph) if name not in self.values]
        values = {**self.values, **fresh_tensors(graph, new, seed, self.values)}
        return Model(path, graph, Checkpoint.of(values))
