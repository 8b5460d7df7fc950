"""A draft of rules: which tensor of a source is which variable of a graph, by names, shapes and order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.tensors import Tensor
from ckpttool.foreign.layouts.keep import Keep
from ckpttool.foreign.layouts.layout import Layout
from ckpttool.foreign.layouts.pointwise import Pointwise
from ckpttool.foreign.matching import BESIDE, NAMES, NUMBERS, ORDER, SHAPES, Matching
from ckpttool.foreign.names import is_counter, natural
from ckpttool.foreign.readers import is_of_torch, layout_by_reader
from ckpttool.graph.contents.layers import layers
from ckpttool.graph.contents.stored import StoredTensor, stored_tensors
from ckpttool.graph.core import Graph

TOGETHER, COPY = 0.75, 1.0
"""How sure tensors are that make variables together, and a tensor that holds what another does."""
WHY = {
    NAMES: "the names end alike",
    SHAPES: "nothing else has these shapes",
    BESIDE: "the rest of its layer is there",
    NUMBERS: "the numbers of the names agree",
    ORDER: "only the order tells",
    TOGETHER: "no other layer makes these shapes",
    COPY: "the same numbers again",
}


@dataclass(frozen=True)
class Suggestion:
    """Tensors of the source, the variables that they are likely to be, how they are turned, and how sure that is."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    layout: Layout
    confidence: float
    copy: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        why = WHY[self.confidence]
        return {
            "from": " ".join(self.sources),
            "to": " ".join(self.targets),
            "transform": str(self.layout),
            "confidence": self.confidence,
            "why": why,
        }


@dataclass(frozen=True)
class Draft:
    """Pairs in the graph's order, the source's tensors that are no weights, and what is open, each with why."""

    pairs: tuple[Suggestion, ...]
    dropped: tuple[str, ...]
    open: tuple[str, ...]


def suggest(weights: Checkpoint, graph: Graph) -> Draft:
    """Suggest which tensors of a source become which variables of a graph, one to one, or a layer's together.

    What is not clear is left open: tensors that could change places where nothing tells which is which, square kernels
    of a file that does not show by others whether its kernels are turned over, and what has no counterpart. Values are
    read only where a tensor that fits nothing might hold those of another.
    """
    dropped = tuple(name for name, kind in weights.kinds().items() if kind != "weight" or is_counter(name))
    shapes = {name: weights[name].shape for name in _in_order(weights) if name not in dropped}
    targets = {target.name: target for target in _targets(graph)}
    turning = {name: layout_by_reader(graph, target) for name, target in targets.items()}
    pairing = Matching(shapes, targets, turning, is_sorted=_is_sorted(weights))
    pairing.run()
    habit = _habit(weights, pairing)
    found = [_suggestion(pairing, source, target, how, habit) for target, (source, how) in pairing.found.items()]
    places = {name: place for place, name in enumerate(targets)}
    found += [Suggestion(*joint, TOGETHER) for joint in pairing.joint]
    pairs = sorted((each for each in found if isinstance(each, Suggestion)), key=lambda pair: places[pair.targets[0]])
    unused = {name: weights[name] for name in pairing.unused()}
    copies = {pair.sources[0]: pair for pair in _copies(weights, pairs, unused)}
    lost = [f"{name} {list(shapes[name])}: no variable fits" for name in unused if name not in copies]
    problems = [each for each in found if isinstance(each, str)]
    return Draft((*pairs, *copies.values()), dropped, (*problems, *pairing.problems(), *lost))


def _copies(weights: Checkpoint, pairs: Sequence[Suggestion], unused: Mapping[str, Tensor]) -> Iterator[Suggestion]:
    """Yield what holds the numbers of a paired tensor again, as a kernel that is tied to an embedding."""
    shapes = {tensor.shape for tensor in unused.values()}
    alone = [(weights[pair.sources[0]], pair) for pair in pairs if len(pair.sources) == 1]
    alike = {_digest(tensor): pair for tensor, pair in alone if tensor.shape in shapes}
    for name, tensor in unused.items() if alike else ():
        same = alike.get(_digest(tensor))
        if same and len({*tensor.read().ravel()[:1000].tolist()}) > 1:
            yield replace(same, sources=(name,), confidence=COPY, copy=True)


def _digest(tensor: Tensor) -> object:
    found = blake2b()
    for piece in tensor.pieces():
        found.update(piece)
    return tensor.shape, tensor.dtype, found.digest()


def _in_order(weights: Checkpoint) -> list[str]:
    """Return names in the source's order; where that is the alphabet's, with their numbers in order."""
    return sorted(weights, key=natural) if _is_sorted(weights) else list(weights)


def _is_sorted(weights: Checkpoint) -> bool:
    return [*weights] == sorted(weights)


def _targets(graph: Graph) -> Iterator[StoredTensor]:
    """Yield the graph's weights in the order in which data flows through them."""
    stored = {name: target for name, target in stored_tensors(graph).items() if target.kind == "weight"}
    flowing = [name for layer in layers(graph) for name in layer.variables]
    return (stored[name] for name in dict.fromkeys([*flowing, *stored]) if name in stored)


def _habit(weights: Checkpoint, pairing: Matching) -> bool | None:
    """Say whether the source's kernels are turned over, by those whose shape tells; None where they do not agree."""
    ways = [pairing.fits(source, target) for target, (source, _) in pairing.found.items()]
    seen = {_is_turned(way[0]) for way, target in zip(ways, pairing.found, strict=True) if _tells(way, pairing, target)}
    if not seen and is_of_torch(weights):
        return True
    return seen.pop() if len(seen) == 1 else None


def _is_turned(layout: Layout) -> bool:
    return layout.form == "torch" if isinstance(layout, Pointwise) else not isinstance(layout, Keep)


def _tells(ways: list[Layout], pairing: Matching, target: str) -> bool:
    return len(ways) == 1 and not isinstance(pairing.turning[target], Keep)


def _suggestion(pairing: Matching, source: str, target: str, how: float, habit: bool | None) -> Suggestion | str:
    """Return the pair with its layout, or why that is not known."""
    ways = pairing.fits(source, target)
    if len(ways) > 1 and habit is None:
        return f"{target}: {source} fits as {' and as '.join(map(str, ways))}, and no other kernel tells; write a rule"
    return Suggestion((source,), (target,), ways[0] if habit is not False or len(ways) == 1 else ways[-1], how)
