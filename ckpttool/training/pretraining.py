"""The stages of pretraining: which layers each trains, on which inputs, and the graph of each stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.patterns import Pattern
from ckpttool.core.tensors import Tensor
from ckpttool.data.splits import Split
from ckpttool.graph.contents.keras_network import keras_network, with_keras_network
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.graph.roles.resolve import find_roles, with_roles
from ckpttool.model.model import Model
from ckpttool.runtime.pretraining.graphs import DECODER, Floor, Images, rows_alone, with_layers, with_method
from ckpttool.runtime.pretraining.method import Method
from ckpttool.runtime.spec import LayerSpec
from ckpttool.runtime.state import fresh_tensors
from ckpttool.training.augment import augmentation_of, image_shape_of, input_of_images
from ckpttool.training.heads import place_above, restored_variables, trunk_of
from ckpttool.training.options import Options


@dataclass(frozen=True)
class Stage:
    """Layers that are trained together; `before` are the layers without weights below them.

    The last stage of a layer-wise method may train the layers of all earlier `stages` `together`.
    """

    before: tuple[LayerSpec, ...]
    layers: tuple[LayerSpec, ...]
    together: tuple["Stage", ...] = ()

    @property
    def name(self) -> str:
        """The name of its first layer that has weights or is new; without one, the model's own layers are trained."""
        weighted = (spec.name for spec in self.layers if spec.layer.has_kernel)
        return next(weighted, self.layers[0].name if self.layers else "all layers")


def stages_of(
    layers: Sequence[LayerSpec], method: Method, end_to_end: bool
) -> tuple[list[Stage], tuple[LayerSpec, ...]]:
    """Return the stages in which a method trains layers, and the layers on top without weights to train.

    A layer-wise method has a stage for each layer with a kernel, with the following layers that keep its shape, and
    one more for all of them with `end_to_end`.

    Raises:
        PlanError: no layer has a kernel, or the method cannot train all layers at once.
    """
    if end_to_end and not method.decodes:
        why = "has no decoders" if method.layerwise else "trains all layers together already"
        raise PlanError(f"`end_to_end` is for `method` autoencoder, whose decoders are stacked: {method.name} {why}")
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
    return [*stages, Stage((), (), tuple(stages))] if end_to_end else stages, tuple(waiting)


def images_for(method: Method, split: Split, shape: Sequence[int] | None, options: Options) -> Images | None:
    """Return which rows are images, and the augmentation that makes views of them; None if the method needs none.

    Raises:
        PlanError: the rows are not known to be images, or no augmentation is specified.
    """
    if not method.on_images:
        return None
    layout = options.image_shape or (shape if shape and len(shape) > 1 else None)
    augmentation = augmentation_of(options.augment, split, layout, options.seed) if method.augments else None
    asked = f"`method` {method.name}"
    name = input_of_images(split, asked)
    images = image_shape_of(split, name, layout, asked)
    return Images(f"{name}:0", images, augmentation.augmenter if augmentation else None)


@dataclass(frozen=True)
class Grown:
    """The layers stacked so far: their graph, the output of the top one, and their values.

    `outputs` are the outputs of the new layers, `bottom` is the tensor below the first of them.
    """

    graph: Graph
    bottom: str
    values: Mapping[str, Tensor]
    notes: tuple[str, ...] = ()
    outputs: Mapping[str, str] = field(default_factory=dict)

    @property
    def top(self) -> str:
        """The output of the top layer."""
        return list(self.outputs.values())[-1] if self.outputs else self.bottom

    @classmethod
    def of_rows(cls, shape: Sequence[int]) -> Self:
        """Return a graph without layers, for rows of a shape."""
        graph = rows_alone(shape)
        return cls(graph, find_roles(graph, needed=("inputs",)).inputs[0], {})

    @classmethod
    def of_model(cls, model: Model, after: str | None) -> Self:
        """Return the layers of a model up to and including one of them; all if none is named.

        Raises:
            UnknownName: the layer does not exist.
            GraphError: its output is unknown.
        """
        model = model.thawed()
        place = place_above(model.graph, restored_variables(model, Pattern(".*")), after, ())
        trunk = trunk_of(place)
        trunk = with_roles(trunk, replace(find_roles(trunk, ("inputs",)), logits=None, loss=None, labels=None))
        if network := keras_network(model.graph):
            trunk = with_keras_network(trunk, network.cut_after(place.output))
        held = stored_tensors(trunk)
        return cls(trunk, place.output, {name: model.checkpoint[name] for name in held}, tuple(place.fed.notes))

    def with_stage(self, layers: Sequence[LayerSpec], seed: int) -> Self:
        """Return a copy with more layers on top, which are newly initialised."""
        if not layers:
            return self
        graph, outputs = with_layers(self.graph, self.top, layers, seed)
        new = [name for name in stored_tensors(graph) if name not in self.values]
        values = {**self.values, **fresh_tensors(graph, new, seed)}
        return replace(self, graph=graph, outputs={**self.outputs, **outputs}, values=values)

    def with_values(self, values: Mapping[str, Tensor]) -> Self:
        """Return a copy with the values that were trained for some variables."""
        return replace(self, values={name: values[name] for name in self.values})

    def to_train(
        self, method: Method, stage: Stage, seed: int, images: Images | None, known: Mapping[str, Tensor]
    ) -> Model:
        """Return the model that trains a stage by a method: its layers, their inputs, and the method's loss.

        Variables that the method adds start with the values in `known`, if they are there.

        Raises:
            PlanError: the method does not support the layers.
        """
        floors = self._floors(stage) if method.layerwise else []
        alone = floors[0].given if floors and not stage.together else self.bottom
        given = [alone] if method.layerwise else find_roles(self.graph, needed=("inputs",)).inputs
        graph = with_method(self.graph, method, given, self.top, floors, seed, images)
        new = [name for name in stored_tensors(graph) if name not in self.values]
        begun = {name: known[name] for name in new if name in known}
        fresh = fresh_tensors(graph, [name for name in new if name not in known], seed, self.values)
        return Model(Path(stage.name), graph, Checkpoint.of({**self.values, **begun, **fresh}))

    def _floors(self, stage: Stage) -> list[Floor]:
        """Return the layer that a stage trains, or all layers."""
        if not stage.together:
            return [Floor(stage.name, self._given(stage.name), self.outputs[stage.layers[-1].name])]
        floors = []
        for each in stage.together:
            below = tuple(self._given(spec.name) for spec in reversed(each.before))
            outputs = self.outputs[each.layers[-1].name]
            floors.append(Floor(each.name, self._given(each.name), outputs, below, f"{DECODER}/{each.name}"))
        return floors

    def _given(self, layer: str) -> str:
        """Return the input of a layer: the output of the one below it."""
        names = list(self.outputs)
        place = names.index(layer)
        return self.outputs[names[place - 1]] if place else self.bottom
