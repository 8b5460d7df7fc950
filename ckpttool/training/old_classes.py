"""Old classes: warns if the layer with the old task's outputs is kept below a new head, which would read only these."""

import re
from collections.abc import Collection, Iterator, Sequence

from ckpttool.core.pattern_text import shortest_pattern
from ckpttool.core.patterns import Pattern
from ckpttool.graph.contents.layers import Layer
from ckpttool.graph.contents.op_outputs import dtype_of_output
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.contents.tops import class_layer, joining
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.runtime.build import misfit
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.shapes import inferred_shapes
from ckpttool.runtime.spec import parse
from ckpttool.training.heads import place_above, trunk_of

LONGEST = 60
"""The maximum length of a pattern of included layers; otherwise one that excludes layers is easier to read."""


def about_old_classes(
    graph: Graph, restored: Collection[str], head: str, objective: Objective, inputs: Sequence[str]
) -> Iterator[str]:
    """Yield a warning if a head would read the outputs of the old task, with arguments to use instead.

    These are a pattern that excludes the old output layer, the place of the head if the layers below are parallel
    outputs, and the head after a pooling or flattening if it does not fit the output of the layers below.
    """
    top = class_layer(graph)
    below = [] if top is None else [name for name in restored if name not in top.variables]
    if top is None or not below or len(below) == len(restored):
        return
    after = joining(graph, below)
    fitting = _fitting(graph, top, below, after, head, objective, inputs)
    asked = [f"`layers` '{_pattern(graph, top, below)}'", *([f"`after` '{after}'"] if after else [])]
    asked += [f"`head` '{fitting}'"] if fitting != head else []
    yield (
        f"{top.name} gives the outputs of the old task, and the head would be trained on these only: "
        f"{' '.join(asked)} leaves it out"
    )


def _pattern(graph: Graph, top: Layer, below: Collection[str]) -> str:
    weights = [name for name, each in stored_tensors(graph).items() if each.kind == "weight"]
    pattern = shortest_pattern(below, [name for name in weights if name not in below])
    all_others = f"(?!{re.escape(top.name)}).*"
    return all_others if len(pattern) > LONGEST and set(Pattern(all_others).select(weights)) == set(below) else pattern


def _fitting(
    graph: Graph,
    top: Layer,
    below: Collection[str],
    after: str | None,
    head: str,
    objective: Objective,
    inputs: Sequence[str],
) -> str:
    """Return the head, preceded by a pooling or flattening if it needs one, as the layer of the old classes did."""
    place = place_above(graph, below, after, inputs)
    trunk, ref = trunk_of(place), TensorRef.parse(place.output)
    (shape,) = inferred_shapes(trunk, [place.output])
    dtype = dtype_of_output(trunk, ref).name

    def goes(text: str) -> bool:
        return misfit(parse(text), ref.op, dtype, shape, objective) is None

    # If the old layer read as many units as there are channels, it read their means.
    pooled = shape is not None and shape[-1] == _units_read(graph, top)
    ways = ("global_avg_pool()", "flatten()") if pooled else ("flatten()", "global_avg_pool()")
    return next((text for text in (head, *(f"{way}; {head}" for way in ways)) if goes(text)), head)


def _units_read(graph: Graph, top: Layer) -> int | None:
    held = stored_tensors(graph)
    kernel = max((held[name].shape or () for name in top.variables if name in held), key=len, default=())
    return kernel[-2] if len(kernel) > 1 else None
