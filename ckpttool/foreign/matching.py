"""Pairs of a source's tensors and a graph's variables: by names, shapes, layers and order, the surest first."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ckpttool.foreign.layouts.keep import Keep
from ckpttool.foreign.layouts.layout import Layout, Shape
from ckpttool.foreign.likeness import common_ending, layer_of, natural, part_of, without_numbers
from ckpttool.foreign.numbering import aligned, by_number, counted_words
from ckpttool.foreign.together import is_of_cell, joined_layers, together, whole_layers
from ckpttool.graph.stored import StoredTensor

NAMES, SHAPES, BESIDE, NUMBERS, ORDER = 0.9, 0.8, 0.7, 0.6, 0.5
"""How sure a pair is, by what tells it."""


@dataclass
class Matching:
    """Tensors and variables that are paired, surest first; `found` has for each variable its tensor, and by what.

    Where the source's names are sorted, their order is that of layers only for names that differ in their numbers.
    """

    shapes: Mapping[str, Shape]
    targets: Mapping[str, StoredTensor]
    turning: Mapping[str, Layout]
    is_sorted: bool
    found: dict[str, tuple[str, float]] = field(default_factory=dict)

    def run(self) -> None:
        """Pair by what is surest for as long as that goes on, then by the next, and begin again."""
        steps = (self._by_names, self._by_shapes, self._by_layer, self._by_numbers, self._by_order)
        while any(step() for step in steps):
            pass

    def fits(self, source: str, target: str) -> list[Layout]:
        """Return the ways in which a tensor can become a variable."""
        if is_of_cell(source):
            return []
        if None not in (parts := (part_of(source), part_of(target))) and len(set(parts)) > 1:
            return []
        ways = dict.fromkeys([self.turning[target], Keep()])
        return [way for way in ways if self.targets[target].shape in way.made_of([self.shapes[source]])]

    @cached_property
    def _fitting(self) -> dict[str, list[str]]:
        """The variables, with all tensors that fit; what has one shape and plays one part fits the same."""
        alike: dict[object, list[str]] = {}
        for source, shape in self.shapes.items():
            alike.setdefault((shape, part_of(source), is_of_cell(source)), []).append(source)
        fitting = {
            target: {source for group in alike.values() if self.fits(group[0], target) for source in group}
            for target in self.targets
        }
        shapes = {name: target.shape or () for name, target in self.targets.items()}
        torn = _torn(shapes, {target for target, sources in fitting.items() if sources})
        torn_sources = _torn(self.shapes, {source for sources in fitting.values() for source in sources})
        return {
            target: [source for source in self.shapes if source in found - torn_sources and target not in torn]
            for target, found in fitting.items()
        }

    @cached_property
    def _words(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """The words of the tensors' names, counted as those of the variables are, and the words of these."""
        return aligned(self.shapes, self.targets), counted_words(self.targets)

    @cached_property
    def _endings(self) -> dict[tuple[str, str], int]:
        """How many words the names of those that fit share at their ends, where any; the same name shares one more."""
        words, names = self._words
        pairs = ((s, t) for t, sources in self._fitting.items() for s in sources)
        return {(s, t): n for s, t in pairs if (n := common_ending(words[s], names[t]) + (s == t))}

    def open(self) -> dict[str, list[str]]:
        """Return the variables that have no tensor yet, with those that fit."""
        used = {source for source, _ in self.found.values()}
        left = {name: sources for name, sources in self._fitting.items() if name not in self.found}
        return {name: [source for source in sources if source not in used] for name, sources in left.items()}

    def problems(self) -> Iterator[str]:
        """Say what could not be paired, and why."""
        used = {source for source, _ in self.found.values()}
        layers = joined_layers({name: shape for name, shape in self.shapes.items() if name not in used})
        fitting = self.open()
        wanted = {target: self.targets[target].shape or () for target in fitting}
        for target, sources in fitting.items():
            why = f"{len(sources)} tensors fit, {_few(sources)}" if sources else "no tensor fits"
            yield f"{target} {list(wanted[target])}: {why}{together(layers, self.shapes, target, wanted)}"
        taken = {source for sources in fitting.values() for source in sources} | used
        yield from (
            f"{name} {list(shape)}: no variable fits" for name, shape in self.shapes.items() if name not in taken
        )

    def _by_names(self) -> bool:
        """Pair where of all that fit the ends of two names are the most alike, seen from either side."""
        used = {source for source, _ in self.found.values()}
        left = {
            pair: count for pair, count in self._endings.items() if pair[0] not in used and pair[1] not in self.found
        }
        return self._take(_best(left), NAMES)

    def _by_shapes(self) -> bool:
        """Pair where neither fits anything else."""
        fitting = self.open()
        counts = Counter(source for sources in fitting.values() for source in sources)
        return self._take([(s[0], t) for t, s in fitting.items() if len(s) == 1 and counts[s[0]] == 1], SHAPES)

    def _by_layer(self) -> bool:
        """Pair where one tensor fits that lies beside those which the rest of the variable's layer got."""
        beside: dict[str, set[str]] = {}
        for target, (source, _) in self.found.items():
            beside.setdefault(layer_of(target), set()).add(layer_of(source))
        layers = {source: layer_of(source) for source in self.shapes}
        near = {
            target: [source for source in sources if {layers[source]} == beside[layer_of(target)]]
            for target, sources in self.open().items()
            if layer_of(target) in beside
        }
        counts = Counter(source for sources in near.values() for source in sources)
        return self._take([(s[0], t) for t, s in near.items() if len(s) == 1 and counts[s[0]] == 1], BESIDE)

    def _by_numbers(self) -> bool:
        """Pair as many tensors as there are variables that they all fit, where their names have the same numbers."""
        words, names = self._words
        even = [({name: words[name] for name in s}, {name: names[name] for name in t}) for s, t in self._even()]
        return self._take([pair for sides in even for pair in by_number(*sides)], NUMBERS)

    def _by_order(self) -> bool:
        """Pair as many tensors as there are variables that they all fit, if the layers that are known are in order."""
        layers = {name: layer_of(name) or name for name in self.shapes}
        ordered = sorted({*layers.values()}, key=natural) if self.is_sorted else dict.fromkeys(layers.values())
        places = {layer: place for place, layer in enumerate(ordered)}
        known = [places[layers[self.found[target][0]]] for target in self.targets if target in self.found]
        if known != sorted(known):
            return False
        alone = [(s, t) for s, t in self._even() if not self.is_sorted or len({*map(without_numbers, s)}) == 1]
        return self._take([pair for s, t in alone[:1] for pair in zip(s, t, strict=True)], ORDER)

    def _even(self) -> list[tuple[tuple[str, ...], list[str]]]:
        """Return tensors that fit the same variables and nothing else, with these, where there are as many of both."""
        groups: dict[tuple[str, ...], list[str]] = {}
        for target, sources in self.open().items():
            groups.setdefault(tuple(sources), []).append(target)
        counts = Counter(source for sources in groups for source in sources)
        even = [(s, t) for s, t in groups.items() if len(s) == len(t)]
        return [(s, t) for s, t in even if all(counts[name] == 1 for name in s)]

    def _take(self, pairs: Iterable[tuple[str, str]], how: float) -> bool:
        before = len(self.found)
        self.found |= {target: (source, how) for source, target in pairs}
        return len(self.found) > before


def _best(alike: Mapping[tuple[str, str], int]) -> list[tuple[str, str]]:
    """Return the pairs that are more alike than any other of the same tensor, or of the same variable."""
    most: dict[tuple[int, str], Counter[int]] = {}
    for pair, length in alike.items():
        for side in enumerate(pair):
            most.setdefault(side, Counter())[length] += 1
    best = {side: max(counts) for side, counts in most.items()}
    alone = {side: length for side, length in best.items() if most[side][length] == 1}
    return [pair for pair, length in alike.items() if all(alone.get(side) == length for side in enumerate(pair))]


def _torn(shapes: Mapping[str, Shape], fitting: set[str]) -> set[str]:
    """Return the tensors of layers that change their form as a whole, and fit only in part."""
    return {name for layer in whole_layers(shapes) if not fitting.issuperset(layer) for name in layer}


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
