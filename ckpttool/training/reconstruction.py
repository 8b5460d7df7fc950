"""Reconstruction: rows as the decoders of a layer-wise method make them again, from deeper and deeper layers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

from ckpttool.core.tensors import Array
from ckpttool.model.model import Model
from ckpttool.runtime.layers import Flatten
from ckpttool.runtime.pretraining.graphs import MADE_AGAIN
from ckpttool.runtime.streaming import Stream
from ckpttool.training.bound import Bound
from ckpttool.training.pretraining import Stage


@dataclass(frozen=True)
class Trained:
    """A stage that is trained: its model, with the method on it, and the tensor that its layers give."""

    stage: Stage
    model: Model
    top: str

    @property
    def leads_back(self) -> bool:
        """Whether what is made again is what the stage below gave, but for its shape."""
        can = MADE_AGAIN.partition(":")[0] in self.model.graph.nodes
        return can and all(isinstance(spec.layer, Flatten) for spec in self.stage.before)

    def encoded(self, rows: Mapping[str, Array]) -> Array:
        """Return what the layers up to this stage's give for rows."""
        (found,) = self._stream(self.top, rows).of(rows, slice(None))
        return found

    def decoded(self, outputs: Array) -> Array:
        """Return what this stage was given, made of its outputs again."""
        (found,) = self._decoder.of({self.top: outputs}, slice(None))
        return found

    @cached_property
    def _decoder(self) -> Stream:
        return self._stream(MADE_AGAIN, [self.top])

    def _stream(self, tensor: str, fed: Iterable[str]) -> Stream:
        return Bound.of(self.model, needed=()).inference([tensor], fed)


def made_again(stages: Sequence[Trained], rows: Mapping[str, Array]) -> dict[str, Array]:
    """Return rows as they are made again `from` the outputs of each stage, through all decoders below it.

    It ends where no decoder leads back: above a pooling, or what is no plain copy of what it was given.
    """
    reached = list(takewhile(lambda each: each.leads_back, stages))
    outputs = [each.encoded(rows) for each in reached]
    found: dict[str, Array] = {}
    for number, deepest in enumerate(reached):
        values = deepest.decoded(outputs[number])
        for below in reversed(range(number)):
            values = reached[below].decoded(values.reshape(outputs[below].shape))
        found[f"from {deepest.stage.name}"] = values
    return found
