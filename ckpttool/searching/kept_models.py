"""The models of configurations: cut at a depth, with the head added, and their weights that come from the source."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.patterns import Pattern
from ckpttool.graph.contents.op_outputs import dtype_of_output
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.model.model import Model
from ckpttool.runtime.build import misfit
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.shapes import inferred_shapes
from ckpttool.runtime.spec import parse
from ckpttool.runtime.state import fresh_tensors
from ckpttool.searching.configurations import SCRATCH, Configuration
from ckpttool.searching.depths import Depth
from ckpttool.training.bound import Bound
from ckpttool.training.heads import headed, place_at, restored_variables
from ckpttool.training.options import Options


@dataclass(frozen=True)
class CutModel:
    """A model cut at a depth, with the head above `top`, bound; its restored and its newly initialised weights."""

    model: Model
    top: str
    bound: Bound
    restored: tuple[str, ...]
    fresh: tuple[str, ...]


class KeptModels:
    """The models of one search, each built on first use."""

    def __init__(self, source: Bound, depths: Sequence[Depth], head: str, options: Options) -> None:
        """Determine the depths of the source that the head fits; no model is built yet.

        Raises:
            CkptError: the head fits none.
        """
        self.source, self._head, self._options = source, head, options
        self.depths, self.misfits = fitted(source.model.graph, depths, head, options.objective or Objective())
        self._kept: dict[tuple[int, bool], CutModel] = {}

    @property
    def top(self) -> int:
        """The deepest depth that the head fits, above which it is added when training from scratch."""
        return max(depth.number for depth in self.depths if depth.number not in self.misfits)

    def kept(self, configuration: Configuration) -> CutModel:
        """Return the model with the head above the depths that a configuration keeps; from scratch, above all."""
        scratch = configuration == SCRATCH
        depth = self.depths[self.top if scratch else configuration.keep]
        if (depth.number, scratch) not in self._kept:
            model, options = self.source.model, self._options
            restored = [] if scratch else restored_variables(model, Pattern(self.pattern(depth.number)))
            place = place_at(model.graph, depth.layers[-1], depth.tensor)
            objective = options.objective or Objective()
            put = headed(model, restored, self._head, place, seed=options.seed, objective=objective)
            fresh = [name for name in stored_tensors(put.graph) if name not in put.kept]
            values = {name: model.checkpoint[name] for name in put.kept}
            values |= fresh_tensors(put.graph, fresh, options.seed, values)
            built = replace(model, graph=put.graph, checkpoint=Checkpoint.of(values))
            bound = Bound.of(built, needed=("inputs", "labels"))
            self._kept[depth.number, scratch] = CutModel(built, depth.tensor, bound, put.kept, tuple(fresh))
        return self._kept[depth.number, scratch]

    def pattern(self, number: int) -> str:
        """Return a pattern of the layers up to a depth, including its own."""
        return "|".join(re.escape(name) for depth in self.depths[: number + 1] for name in depth.layers)


def fitted(
    graph: Graph, depths: Sequence[Depth], head: str, objective: Objective
) -> tuple[list[Depth], dict[int, str]]:
    """Return the depths with the tensors that the head fits, and the reasons for those that it does not fit.

    If the head does not fit a flattened or pooled tensor, the tensor before that is used if it fits.

    Raises:
        CkptError: the head fits no depth.
    """
    layers, found, misfits = parse(head, "head"), [depths[0]], dict[int, str]()
    tensors = [tensor for depth in depths[1:] for tensor in (depth.tensor, depth.spatial) if tensor]
    shapes = dict(zip(tensors, inferred_shapes(graph, tensors), strict=True))

    def problem(tensor: str) -> str | None:
        ref = TensorRef.parse(tensor)
        return misfit(layers, ref.op, dtype_of_output(graph, ref).name, shapes[tensor], objective)

    for depth in depths[1:]:
        why = problem(depth.tensor)
        if why and depth.spatial and not problem(depth.spatial):
            found.append(replace(depth, tensor=depth.spatial))
            continue
        found.append(depth)
        if why:
            misfits[depth.number] = why
    if len(misfits) == len(depths) - 1:
        raise PlanError(f"`head` {head!r} goes on no depth: {misfits[depths[-1].number]}")
    return found, misfits
