"""The models of configurations: cut off at a depth, with the head on, and what of them the source has."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.names import Pattern
from ckpttool.graph.contents.op_outputs import dtype_of_output
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import TensorRef
from ckpttool.model.model import Model
from ckpttool.runtime.build import misfit
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.shapes import inferred_shapes
from ckpttool.runtime.spec import parse
from ckpttool.runtime.state import fresh_tensors
from ckpttool.search.configurations import SCRATCH, Configuration
from ckpttool.search.depths import Depth
from ckpttool.training.bound import Bound
from ckpttool.training.heads import headed, place_at, restored_variables
from ckpttool.training.options import Options


@dataclass(frozen=True)
class Kept:
    """A model cut at a depth, with the head on, and bound; what it has of the source, and what starts fresh."""

    model: Model
    bound: Bound
    restored: tuple[str, ...]
    fresh: tuple[str, ...]


class KeptModels:
    """The models of one search, each made when it is first asked for."""

    def __init__(self, source: Bound, depths: Sequence[Depth], head: str, options: Options) -> None:
        """Begin with none; the head goes on the depths of the source."""
        self.source, self.depths, self._head, self._options = source, depths, head, options
        self._kept: dict[tuple[int, bool], Kept] = {}

    @cached_property
    def misfits(self) -> dict[int, str]:
        """The depths that the head does not go on, each with the reason.

        Raises:
            CkptError: it goes on none.
        """
        graph, objective, found = self.source.model.graph, self._options.objective or Objective(), {}
        layers, tensors = parse(self._head), [depth.tensor for depth in self.depths[1:]]
        for depth, shape in zip(self.depths[1:], inferred_shapes(graph, tensors), strict=True):
            ref = TensorRef.parse(depth.tensor)
            if problem := misfit(layers, ref.op, dtype_of_output(graph, ref).name, shape, objective):
                found[depth.number] = problem
        if len(found) == len(tensors):
            raise PlanError(f"`head` {self._head!r} goes on no depth: {found[self.depths[-1].number]}")
        return found

    @property
    def top(self) -> int:
        """The deepest depth that the head goes on; it goes there from scratch."""
        return max(depth.number for depth in self.depths if depth.number not in self.misfits)

    def kept(self, configuration: Configuration) -> Kept:
        """Return the model with the head above what a configuration keeps; from scratch above all of its layers."""
        scratch = configuration == SCRATCH
        depth = self.depths[self.top if scratch else configuration.keep]
        if (depth.number, scratch) not in self._kept:
            model, options = self.source.model, self._options
            restored = [] if scratch else restored_variables(model, Pattern(self.pattern(depth.number)))
            place = place_at(model.graph, depth.layers[-1], depth.tensor)
            objective = options.objective or Objective()
            put = headed(model, restored, self._head, place, None, None, options.seed, objective)
            fresh = [name for name in stored_tensors(put.graph) if name not in put.kept]
            values = {name: model.checkpoint[name] for name in put.kept}
            values |= fresh_tensors(put.graph, fresh, options.seed, values)
            built = replace(model, graph=put.graph, checkpoint=Checkpoint.of(values))
            bound = Bound.of(built, needed=("inputs", "labels"))
            self._kept[depth.number, scratch] = Kept(built, bound, put.kept, tuple(fresh))
        return self._kept[depth.number, scratch]

    def pattern(self, number: int) -> str:
        """Return what names the layers below a depth, and of it."""
        return "|".join(re.escape(name) for depth in self.depths[: number + 1] for name in depth.layers)
