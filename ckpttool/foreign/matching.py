"""Pairing a source's tensors with a graph's variables: by names, shapes, layers and order, the most certain first."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from ckpttool.core.names import listed
from ckpttool.foreign.evidence import Evidence, certain_layouts
from ckpttool.foreign.joint import Joint, Together, is_of_cell, whole_layers
from ckpttool.foreign.names import (
    Endings,
    aligned,
    by_number,
    counted_words,
    layer_by_role,
    natural,
    part_of,
    without_automatic_numbers,
    without_numbers,
)
from ckpttool.foreign.readers import Reading
from ckpttool.foreign.whole_layers import LayerOrder
from ckpttool.formats.format import Arrangement
from ckpttool.graph.contents.stored import StoredTensor
from ckpttool.layouts.layout import Layout, Shape

NAMES, SHAPES, BESIDE, NUMBERS, ORDER = 0.9, 0.8, 0.7, 0.6, 0.5
"""The confidence of a pair, by the criterion that determined it."""

Group = tuple[Shape, str | None, bool, Arrangement]
Value = TypeVar("Value")


@dataclass
class Matching:
    """Pairs tensors with variables, the most certain first; `pairs` maps variables to tensors with the confidence.

    If the source's names are sorted, their order is that of layers only for names that differ just in numbers.
    `chained` tells whether data flows through some variables one after another.
    """

    shapes: Mapping[str, Shape]
    targets: Mapping[str, StoredTensor]
    readings: Mapping[str, Reading]
    evidence: Evidence
    is_sorted: bool
    chained: Callable[[Sequence[str]], bool]
    pairs: dict[str, tuple[str, float]] = field(default_factory=dict)
    joint: list[Joint] = field(default_factory=list)

    def run(self) -> None:
        """Pair by the most certain criterion as long as it finds pairs, then by the next one, and start over."""
        steps = (self._by_names, self._by_shapes, self._by_layer, self._by_numbers, self._by_order)
        while any(step() for step in steps):
            pass
        self.joint += self._together().sure()
        order = LayerOrder(self.is_sorted, self.chained)
        self.joint += self._together().layer_by_layer(order, self._has_outputs_first)

    def _has_outputs_first(self) -> bool | None:
        """Return whether the source's matrices have their outputs first, by the pairs that were found."""
        pairs = ((self.readings[target], self.fits(source, target)) for target, (source, _) in self.pairs.items())
        return self.evidence.outputs_first("dense", certain_layouts(pairs))

    def fits(self, source: str, target: str) -> list[Layout]:
        """Return the layouts by which a tensor can become a variable."""
        if is_of_cell(source):
            return []
        if None not in (parts := (part_of(source), part_of(target))) and len(set(parts)) > 1:
            return []
        shape = self.targets[target].shape or ()
        return self.evidence.ways(source, self.shapes[source], self.readings[target], shape)

    @cached_property
    def _groups(self) -> dict[str, Group]:
        """The group of each tensor: those with the same shape, role and arrangement fit the same variables."""
        arrangement = self.evidence.arrangement
        return {
            name: (shape, part_of(name), is_of_cell(name), arrangement(name)) for name, shape in self.shapes.items()
        }

    @cached_property
    def _fitting(self) -> dict[str, set[Group]]:
        """The groups that fit each variable; empty if its layer can only be converted as a whole, and fits in part."""
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
        """The words of the tensors' names, numbered like those of the variables, and the words of the variables."""
        ours = without_automatic_numbers(self.shapes, self.targets)
        theirs = without_automatic_numbers(self.targets, self.shapes)
        words, names = aligned(ours.values(), theirs.values()), counted_words(theirs.values())
        return {name: words[ours[name]] for name in ours}, {name: names[theirs[name]] for name in theirs}

    def _open(self) -> tuple[dict[Group, list[str]], dict[str, set[Group]]]:
        """Return the unpaired tensors by group, and the unpaired variables with the groups that fit."""
        used = self._used() | self._torn_sources
        left = _by_value({name: group for name, group in self._groups.items() if name not in used})
        filled = {*self.pairs, *(name for each in self.joint for name in each.targets)}
        wanting = {name: groups & left.keys() for name, groups in self._fitting.items() if name not in filled}
        return left, wanting

    def _used(self) -> set[str]:
        return {source for source, _ in self.pairs.values()} | {name for each in self.joint for name in each.sources}

    def _together(self) -> Together:
        """Return the possible joint conversions of unpaired tensors, including those that also fit on their own."""
        _, wanting = self._open()
        used = self._used()
        left = {name: shape for name, shape in self.shapes.items() if name not in used}
        wanted = {target: self.targets[target].shape or () for target in wanting}
        return Together(left, wanted, self.evidence.cells(left))

    def unused(self) -> list[str]:
        """Return the unpaired tensors that fit no unpaired variable."""
        left, wanting = self._open()
        fitting = {name for group in set().union(*wanting.values()) for name in left[group]}
        taken = fitting | self._used()
        return [name for name in self.shapes if name not in taken]

    def problems(self) -> Iterator[str]:
        """Yield messages about variables that could not be paired, with reasons."""
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
        """Pair tensors and variables that are each other's best match by the ends of their names."""
        sides = self._alike()
        return self._take([(s, t) for (s, *others), (t, *more) in sides if not others and not more], NAMES)

    def _alike(self) -> list[tuple[list[str], list[str]]]:
        """Return groups of tensors and variables (as many of both) that are each other's best match by name endings."""
        left, wanting = self._open()
        words, names = self._words
        ours: Endings[Group] = Endings((name, words[name], [group]) for group in left for name in left[group])
        theirs: Endings[Group] = Endings((name, names[name], groups) for name, groups in wanting.items())
        best = _by_value({name: ours.alike(name, names[name], groups) for name, groups in wanting.items()})
        back = {s: theirs.alike(s, words[s], [self._groups[s]]) for sources in best for s in sources}
        even = ((sources, targets) for sources, targets in best.items() if len(sources) == len(targets))
        return [([*s], t) for s, t in even if {back[source] for source in s} == {frozenset(t)}]

    def _by_shapes(self) -> bool:
        """Pair tensors and variables that fit nothing else."""
        left, wanting = self._open()
        counts = Counter(group for groups in wanting.values() for group in groups)
        only = ((next(iter(groups)), target) for target, groups in wanting.items() if len(groups) == 1)
        return self._take(
            [(left[group][0], target) for group, target in only if len(left[group]) == counts[group] == 1], SHAPES
        )

    def _by_layer(self) -> bool:
        """Pair a variable with the only fitting tensor in the layer from which the rest of its own layer was paired."""
        left, wanting = self._open()
        beside: dict[str, set[str]] = {}
        for target, (source, _) in self.pairs.items():
            beside.setdefault(layer_by_role(target), set()).add(layer_by_role(source))
        inside = _by_value({name: (layer_by_role(name), group) for group, names in left.items() for name in names})
        near = {
            target: [(layer, group) for layer in layers for group in groups if (layer, group) in inside]
            for target, groups in wanting.items()
            if len(layers := beside.get(layer_by_role(target), set())) == 1
        }
        counts = Counter(place for places in near.values() for place in places)
        only = [(places[0], target) for target, places in near.items() if len(places) == 1]
        return self._take(
            [(inside[place][0], target) for place, target in only if len(inside[place]) == counts[place] == 1], BESIDE
        )

    def _by_numbers(self) -> bool:
        """Pair equally many tensors and variables that all fit one another if their names have the same numbers.

        If there are none, those whose names have the same end.
        """
        return self._take(self._same_numbers(self._even()), NUMBERS) or self._take(
            self._same_numbers(self._alike()), NUMBERS
        )

    def _same_numbers(self, sides: Iterable[tuple[list[str], list[str]]]) -> list[tuple[str, str]]:
        words, names = self._words
        worded = [({name: words[name] for name in s}, {name: names[name] for name in t}) for s, t in sides]
        return [pair for both in worded for pair in by_number(*both)]

    def _by_order(self) -> bool:
        """Pair equally many tensors and variables that all fit one another in order, if paired layers are in order."""
        layers = {name: layer_by_role(name) or name for name in self.shapes}
        ordered = sorted({*layers.values()}, key=natural) if self.is_sorted else dict.fromkeys(layers.values())
        places = {layer: place for place, layer in enumerate(ordered)}
        known = [places[layers[self.pairs[target][0]]] for target in self.targets if target in self.pairs]
        if known != sorted(known):
            return False
        alone = [(s, t) for s, t in self._even() if not self.is_sorted or len({*map(without_numbers, s)}) == 1]
        return self._take([pair for s, t in alone[:1] for pair in zip(s, t, strict=True)], ORDER)

    def _even(self) -> list[tuple[list[str], list[str]]]:
        """Return tensors that fit the same variables and nothing else, with these variables, if there are as many."""
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
    """Return the names with each value, in order."""
    names: dict[Value, list[str]] = {}
    for name, value in values.items():
        names.setdefault(value, []).append(name)
    return names


def _torn(shapes: Mapping[str, Shape], fitting: set[str]) -> set[str]:
    """Return the tensors of layers that can only be converted as a whole, but fit only in part."""
    return {name for layer in whole_layers(shapes) if not fitting.issuperset(layer) for name in layer}
