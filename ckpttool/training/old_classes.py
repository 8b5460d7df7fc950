"""Old classes: the layer that gives them should not be kept below a new head, which could learn from these alone."""

import re
from collections.abc import Collection, Iterator, Sequence

from ckpttool.core.names import Pattern
from ckpttool.core.pattern_text import shortest_pattern
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
"""Characters of a pattern that names layers; of more the one that names what it leaves out is easier to read."""


def about_old_classes(
    graph: Graph, restored: Collection[str], head: str, objective: Objective, inputs: Sequence[str]
) -> Iterator[str]:
    """Say that a head would read the outputs of the old task, and what to ask for instead, ready to be copied.

    That is a pattern that leaves their layer out; the place of the head, where the layers below end side by side; and
    the head behind a pooling or a flattening, where it does not go on what the layers below give.
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
    """Return the head, with what makes rows of units before it where it needs that; the layer of old classes did."""
    place = place_above(graph, below, after, inputs)
    trunk, ref = trunk_of(place), TensorRef.parse(place.output)
    (shape,) = inferred_shapes(trunk, [place.output])
    dtype = dtype_of_output(trunk, ref).name

    def goes(text: str) -> bool:
        return misfit(parse(text), ref.op, dtype, shape, objective) is None

    # Where the old layer read as many units as there are channels, it read their means.
    pooled = shape is not None and shape[-1] == _units_read(graph, top)
    ways = ("global_avg_pool()", "flatten()") if pooled else ("flatten()", "global_avg_pool()")
    return next((text for text in (head, *(f"{way}; {head}" for way in ways)) if goes(text)), head)


def _units_read(graph: Graph, top: Layer) -> int | None:
    held = stored_tensors(graph)
    kernel = max((held[name].shape or () for name in top.variables if name in held), key=len, default=())
    return kernel[-2] if len(kernel) > 1 else None
