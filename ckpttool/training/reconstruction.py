"""Reconstruction: rows decoded from the outputs of each stage of a layer-wise method."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile

from ckpttool.core.tensors import Array, Tensor
from ckpttool.model.model import Model
from ckpttool.runtime.layers import Flatten
from ckpttool.runtime.pretraining.graphs import DECODER, MADE_AGAIN, METHOD
from ckpttool.runtime.streaming import Stream
from ckpttool.training.bound import Bound
from ckpttool.training.pretraining import Stage


@dataclass(frozen=True)
class Trained:
    """A trained stage: its model including the method, and the output tensor of its layers."""

    stage: Stage
    model: Model
    top: str

    @property
    def leads_back(self) -> bool:
        """Whether the decoder reconstructs the output of the stage below, up to its shape."""
        return self.decodes and all(isinstance(spec.layer, Flatten) for spec in self.stage.before)

    @property
    def decodes(self) -> bool:
        """Whether it has a decoder."""
        return MADE_AGAIN.partition(":")[0] in self.model.graph.nodes

    def decoder(self) -> dict[str, Tensor]:
        """Return the values of its decoder by the variable names in the stage that trains all layers."""
        scope = f"{METHOD}/{DECODER}/"
        own = {name: tensor for name, tensor in self.model.checkpoint.items() if name.startswith(scope)}
        return {f"{scope}{self.stage.name}/{name.removeprefix(scope)}": tensor for name, tensor in own.items()}

    def encoded(self, rows: Mapping[str, Array]) -> Array:
        """Return the outputs of the layers up to this stage's for rows."""
        (found,) = self._stream(self.top, rows).of(rows, slice(None))
        return found

    def decoded(self, outputs: Array) -> Array:
        """Return the reconstruction of this stage's input from its outputs."""
        (found,) = self._decoder.of({self.top: outputs}, slice(None))
        return found

    @cached_property
    def _decoder(self) -> Stream:
        return self._stream(MADE_AGAIN, [self.top])

    def _stream(self, tensor: str, fed: Iterable[str]) -> Stream:
        return Bound.of(self.model, needed=()).inference([tensor], fed)


def made_again(stages: Sequence[Trained], rows: Mapping[str, Array]) -> dict[str, Array]:
    """Return rows as reconstructed `from` the outputs of each stage, through all decoders below it.

    It ends where no decoder leads back: above a pooling, or if a target is not a plain copy of the input. If all layers
    were trained together, their decoders lead back to the rows.
    """
    alone = [each for each in stages if not each.stage.together]
    reached = list(takewhile(lambda each: each.leads_back, alone))
    outputs = [each.encoded(rows) for each in reached]
    found: dict[str, Array] = {}
    for number, deepest in enumerate(reached):
        values = deepest.decoded(outputs[number])
        for below in reversed(range(number)):
            values = reached[below].decoded(values.reshape(outputs[below].shape))
        found[f"from {deepest.stage.name}"] = values
    for whole in (each for each in stages if each.stage.together and each.decodes):
        found[f"from {whole.stage.name}"] = whole.decoded(whole.encoded(rows))
    return found
