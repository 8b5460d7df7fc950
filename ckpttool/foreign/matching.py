"""Pairs of a source's tensors and a graph's variables: by names, shapes, layers and order, the surest first."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from ckpttool.core.names import listed
from ckpttool.foreign.evidence import Evidence
from ckpttool.foreign.joint import Joint, Together, is_of_cell, whole_layers
from ckpttool.foreign.names import (
    Endings,
    aligned,
    by_number,
    counted_words,
    layer_of,
    natural,
    part_of,
    without_numbers,
)
from ckpttool.foreign.readers import Reading
from ckpttool.formats.format import Arrangement
from ckpttool.graph.contents.stored import StoredTensor
from ckpttool.layouts.layout import Layout, Shape

NAMES, SHAPES, BESIDE, NUMBERS, ORDER = 0.9, 0.8, 0.7, 0.6, 0.5
"""How sure a pair is, by what tells it."""

Group = tuple[Shape, str | None, bool, Arrangement]
Value = TypeVar("Value")


@dataclass
class Matching:
    """Tensors and variables that are paired, surest first; `pairs` has each variable's tensor, and how sure that is.

    Where the source's names are sorted, their order is that of layers only for names that differ in their numbers.
    """

    shapes: Mapping[str, Shape]
    targets: Mapping[str, StoredTensor]
    readings: Mapping[str, Reading]
    evidence: Evidence
    is_sorted: bool
    pairs: dict[str, tuple[str, float]] = field(default_factory=dict)
    joint: list[Joint] = field(default_factory=list)

    def run(self) -> None:
        """Pair by what is surest for as long as that goes on, then by the next, and begin again."""
        steps = (self._by_names, self._by_shapes, self._by_layer, self._by_numbers, self._by_order)
        while any(step() for step in steps):
            pass
        self.joint += self._together().sure()

    def fits(self, source: str, target: str) -> list[Layout]:
        """Return the ways in which a tensor can become a variable."""
        if is_of_cell(source):
            return []
        if None not in (parts := (part_of(source), part_of(target))) and len(set(parts)) > 1:
            return []
        shape = self.targets[target].shape or ()
        return self.evidence.ways(source, self.shapes[source], self.readings[target], shape)

    @cached_property
    def _groups(self) -> dict[str, Group]:
        """The group of each tensor: what has one shape, plays one part and lies in one way fits the same variables."""
        said = self.evidence.said
        return {name: (shape, part_of(name), is_of_cell(name), said(name)) for name, shape in self.shapes.items()}

    @cached_property
    def _fitting(self) -> dict[str, set[Group]]:
        """The groups that fit each variable; none where a layer that changes its form as a whole fits only in part."""
        alike = _by_value(self._groups)
        fitting = {
            target: {group for group, sources in alike.items() if self.fits(sources[0], target)}
            for target in self.targets
        }
        shapes = {name: target.shape or () for name, target in self.targets.items()}
        torn = _torn(shapes, {target for target, groups in fitting.items() if groups})
        return {target: set() if target in torn else groups for target, groups in fitting.items()}

    @cached_property
    def _torn_sources(self) -> set[str]:
        fitting = set().union(*self._fitting.values())
        return _torn(self.shapes, {name for name, group in self._groups.items() if group in fitting})

    @cached_property
    def _words(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """The words of the tensors' names, counted as those of the variables are, and the words of these."""
        return aligned(self.shapes, self.targets), counted_words(self.targets)

    def _open(self) -> tuple[dict[Group, list[str]], dict[str, set[Group]]]:
        """Return the tensors that are left by their groups, and the variables that are, with the groups that fit."""
        used = self._used() | self._torn_sources
        left = _by_value({name: group for name, group in self._groups.items() if name not in used})
        filled = {*self.pairs, *(name for each in self.joint for name in each.targets)}
        wanting = {name: groups & left.keys() for name, groups in self._fitting.items() if name not in filled}
        return left, wanting

    def _used(self) -> set[str]:
        return {source for source, _ in self.pairs.values()} | {name for each in self.joint for name in each.sources}

    def _together(self) -> Together:
        """Return what might be made together of the tensors that are not paired, of those that fit alone too."""
        _, wanting = self._open()
        used = self._used()
        left = {name: shape for name, shape in self.shapes.items() if name not in used}
        wanted = {target: self.targets[target].shape or () for target in wanting}
        return Together(left, wanted, self.evidence.cells(left))

    def unused(self) -> list[str]:
        """Return the tensors that are not paired, and fit no variable that is open."""
        left, wanting = self._open()
        fitting = {name for group in set().union(*wanting.values()) for name in left[group]}
        taken = fitting | self._used()
        return [name for name in self.shapes if name not in taken]

    def problems(self) -> Iterator[str]:
        """Say which variables could not be paired, and why."""
        left, wanting = self._open()
        together = self._together()
        for target, groups in wanting.items():
            sources = self._in_order(left, groups)
            why = f"{len(sources)} tensors fit, {listed(sources, most=3)}" if sources else "no tensor fits"
            yield f"{target} {list(self.targets[target].shape or ())}: {why}{together.hint(target)}"

    def _in_order(self, left: Mapping[Group, Sequence[str]], groups: Iterable[Group]) -> list[str]:
        return sorted((name for group in groups for name in left[group]), key=self._places.__getitem__)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.shapes)}

    def _by_names(self) -> bool:
        """Pair where of all that fit the ends of two names are the most alike, seen from either side."""
        sides = self._alike()
        return self._take([(s, t) for (s, *others), (t, *more) in sides if not others and not more], NAMES)

    def _alike(self) -> list[tuple[list[str], list[str]]]:
        """Return tensors and variables whose names have the same end, one that nothing else of them ends with."""
        left, wanting = self._open()
        words, names = self._words
        ours: Endings[Group] = Endings((name, words[name], [group]) for group in left for name in left[group])
        theirs: Endings[Group] = Endings((name, names[name], groups) for name, groups in wanting.items())
        best = _by_value({name: ours.alike(name, names[name], groups) for name, groups in wanting.items()})
        back = {s: theirs.alike(s, words[s], [self._groups[s]]) for sources in best for s in sources}
        even = ((sources, targets) for sources, targets in best.items() if len(sources) == len(targets))
        return [([*s], t) for s, t in even if {back[source] for source in s} == {frozenset(t)}]

    def _by_shapes(self) -> bool:
        """Pair where neither fits anything else."""
        left, wanting = self._open()
        counts = Counter(group for groups in wanting.values() for group in groups)
        only = ((next(iter(groups)), target) for target, groups in wanting.items() if len(groups) == 1)
        return self._take(
            [(left[group][0], target) for group, target in only if len(left[group]) == counts[group] == 1], SHAPES
        )

    def _by_layer(self) -> bool:
        """Pair where one tensor fits that lies beside those which the rest of the variable's layer got."""
        left, wanting = self._open()
        beside: dict[str, set[str]] = {}
        for target, (source, _) in self.pairs.items():
            beside.setdefault(layer_of(target), set()).add(layer_of(source))
        inside = _by_value({name: (layer_of(name), group) for group, names in left.items() for name in names})
        near = {
            target: [(layer, group) for layer in layers for group in groups if (layer, group) in inside]
            for target, groups in wanting.items()
            if len(layers := beside.get(layer_of(target), set())) == 1
        }
        counts = Counter(place for places in near.values() for place in places)
        only = [(places[0], target) for target, places in near.items() if len(places) == 1]
        return self._take(
            [(inside[place][0], target) for place, target in only if len(inside[place]) == counts[place] == 1], BESIDE
        )

    def _by_numbers(self) -> bool:
        """Pair as many tensors as there are variables that they all fit, where their names have the same numbers.

        Else those whose names end alike.
        """
        return self._take(self._same_numbers(self._even()), NUMBERS) or self._take(
            self._same_numbers(self._alike()), NUMBERS
        )

    def _same_numbers(self, sides: Iterable[tuple[list[str], list[str]]]) -> list[tuple[str, str]]:
        words, names = self._words
        worded = [({name: words[name] for name in s}, {name: names[name] for name in t}) for s, t in sides]
        return [pair for both in worded for pair in by_number(*both)]

    def _by_order(self) -> bool:
        """Pair as many tensors as there are variables that they all fit, if the layers that are known are in order."""
        layers = {name: layer_of(name) or name for name in self.shapes}
        ordered = sorted({*layers.values()}, key=natural) if self.is_sorted else dict.fromkeys(layers.values())
        places = {layer: place for place, layer in enumerate(ordered)}
        known = [places[layers[self.pairs[target][0]]] for target in self.targets if target in self.pairs]
        if known != sorted(known):
            return False
        alone = [(s, t) for s, t in self._even() if not self.is_sorted or len({*map(without_numbers, s)}) == 1]
        return self._take([pair for s, t in alone[:1] for pair in zip(s, t, strict=True)], ORDER)

    def _even(self) -> list[tuple[list[str], list[str]]]:
        """Return tensors that fit the same variables and nothing else, with these, where there are as many of both."""
        left, wanting = self._open()
        alike = _by_value({target: frozenset(groups) for target, groups in wanting.items()})
        counts = Counter(group for groups in alike for group in groups)
        alone = [(groups, targets) for groups, targets in alike.items() if all(counts[group] == 1 for group in groups)]
        even = ((self._in_order(left, groups), targets) for groups, targets in alone)
        return [(sources, targets) for sources, targets in even if len(sources) == len(targets)]

    def _take(self, pairs: Iterable[tuple[str, str]], how: float) -> bool:
        before = len(self.pairs)
        self.pairs |= {target: (source, how) for source, target in pairs}
        return len(self.pairs) > before


def _by_value(values: Mapping[str, Value]) -> dict[Value, list[str]]:
    """Return the names that have each value, in their order."""
    names: dict[Value, list[str]] = {}
    for name, value in values.items():
        names.setdefault(value, []).append(name)
    return names


def _torn(shapes: Mapping[str, Shape], fitting: set[str]) -> set[str]:
    """Return the tensors of layers that change their form as a whole, and fit only in part."""
    return {name for layer in whole_layers(shapes) if not fitting.issuperset(layer) for name in layer}
