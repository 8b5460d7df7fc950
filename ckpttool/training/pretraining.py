"""The stages of pretraining: which layers are trained together, on what, and the graph that each stage trains."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.tensors import Tensor
from ckpttool.data.splits import Split
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.model.model import Model
from ckpttool.runtime.augmenter import Augmenter
from ckpttool.runtime.pretraining.graphs import INPUTS, with_layers, with_method
from ckpttool.runtime.pretraining.method import Method
from ckpttool.runtime.spec import LayerSpec
from ckpttool.runtime.state import fresh_tensors
from ckpttool.training.augment import augmentation_of, image_shape_of
from ckpttool.training.options import Options


@dataclass(frozen=True)
class Stage:
    """Layers that are trained together; `before` are those without weights that lie below them."""

    before: tuple[LayerSpec, ...]
    layers: tuple[LayerSpec, ...]

    @property
    def name(self) -> str:
        """The name of its first layer, of which all others are shaped."""
        return self.layers[0].name


def stages_of(layers: Sequence[LayerSpec], method: Method) -> tuple[list[Stage], tuple[LayerSpec, ...]]:
    """Return the stages in which a method trains layers, and the layers on top that have nothing to train.

    A layer-wise method has a stage for each layer with a kernel, with what changes no shape behind it.

    Raises:
        PlanError: no layer has a kernel.
    """
    if not any(spec.layer.has_kernel for spec in layers):
        raise PlanError("`layers`: none of them has weights that could be trained")
    if not method.layerwise:
        return [Stage((), tuple(layers))], ()
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
        return cls(image_shape_of(split, INPUTS, layout, f"`method` {method.name}"), augmenter)


@dataclass(frozen=True)
class Grown:
    """Layers that are put on one another so far: their graph, what the top of them gives, and their values."""

    graph: Graph
    top: str
    values: Mapping[str, Tensor]

    def with_stage(self, layers: Sequence[LayerSpec], seed: int) -> Self:
        """Return these with more layers on them, which start at random."""
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
        given = given if method.layerwise else f"{INPUTS}:0"
        graph = with_method(self.graph, method, given, self.top, stage.name, seed, views.images, views.augmenter)
        new = [name for name in stored_tensors(graph) if name not in self.values]
        values = {**self.values, **fresh_tensors(graph, new, seed, self.values)}
        return Model(path, graph, Checkpoint.of(values))
