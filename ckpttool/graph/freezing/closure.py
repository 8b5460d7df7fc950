"""The frozen closure: the ops whose values do not change while the layers above are trained, and the cut above them."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from ckpttool.core.dtypes import VARIANT
from ckpttool.core.errors import GraphError
from ckpttool.graph.contents.batch_norms import batch_norms
from ckpttool.graph.contents.flow import Flow
from ckpttool.graph.contents.op_outputs import dtype_of_output
from ckpttool.graph.contents.variables import variables
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.freezing.moving_averages import with_moving_averages
from ckpttool.graph.freezing.randomness import CalledFunctions, disturbances
from ckpttool.graph.ops import CONDITIONALS, PLACEHOLDERS, RANDOM, SELECTS, SHAPES, STATEFUL, STREAMS
from ckpttool.graph.roles.placeholders import constant_switches, mode_placeholders


@dataclass(frozen=True)
class FrozenPart:
    """The part of a graph whose values do not change in training, and the tensors that leave it.

    `variables` are the frozen variables (checkpoint names) below the cut. `above` are those whose layers read outputs
    of trained layers: these are still computed, and only their updates are removed. `ops` is the closure. The cut is
    the set of tensors that the rest of the targets' graph reads: `features` are computed by the closure, and stored by
    a feature cache; `direct` come from outside (labels, inputs that bypass the closure). `constants` leave the closure
    too, but depend on no input, so the rest computes them again. All are in graph order.

    `training` are the mode placeholders, False within the closure; `pinned` are the ops of frozen layers, including
    those above, that must read them as False. `random_ops` and `batch_ops` still make the features differ between runs,
    or with the other rows of a batch: such features cannot be cached.
    """

    variables: tuple[str, ...]
    above: tuple[str, ...]
    ops: frozenset[str]
    features: tuple[str, ...]
    direct: tuple[str, ...]
    constants: tuple[str, ...]
    training: tuple[str, ...]
    pinned: frozenset[str]
    random_ops: tuple[str, ...]
    batch_ops: tuple[str, ...]

    @property
    def cut(self) -> tuple[str, ...]:
        """The tensors that replace everything below: computed ones, then those from outside."""
        return self.features + self.direct


def frozen_part(
    graph: Graph,
    frozen: Collection[str],
    targets: Sequence[str],
    training: str | Collection[str] | None = None,
    moving: Collection[str] = (),
) -> FrozenPart:
    """Return the part that does not change while all weights except the `frozen` ones (checkpoint names) are trained.

    Only ops on which `targets` (the loss, the logits) depend count, not gradients, savers and optimizers. `training`
    names the mode placeholders; by default, these are all placeholders of a single bool. Moving averages and other
    untrainable weights are frozen with their layer, except those named in `moving`. If no frozen layer is below the
    trained ones, the features are empty.

    Raises:
        UnknownName: a frozen variable, a target or a placeholder is not in the graph.
        GraphError: the targets depend on no frozen variable.
    """
    return _Closure(graph, with_moving_averages(graph, frozen, moving), targets, training).part()


class _Closure:
    """Computes the sets of ops by their dependencies, each from the previous ones."""

    def __init__(
        self, graph: Graph, frozen: Collection[str], targets: Sequence[str], training: str | Collection[str] | None
    ) -> None:
        self.graph = graph
        self.targets = [TensorRef.parse(text) for text in targets]
        self.whole = Flow.of(graph)
        self.flow = self.whole.within(self.whole.ancestors(graph.op(ref.op).name for ref in self.targets))
        self.described = variables(graph)
        self.frozen = list(frozen)
        self.frozen_ops = self._here(self.described[key].op for key in self.frozen)
        if not self.frozen_ops:
            names = ", ".join(self.frozen[:5])
            raise GraphError(f"{graph.source}: {', '.join(targets)} do not depend on the frozen variables {names}")
        frozen_ops = {self.described[key].op for key in self.frozen}
        self.live_ops = self._here(v.op for v in self.described.values() if v.op not in frozen_ops)
        self.modes = [*mode_placeholders(graph, training), *constant_switches(graph)]
        self.functions = CalledFunctions(graph)
        self.core: set[str] = set()
        self._sort()

    def _here(self, ops: Iterable[str]) -> list[str]:
        return [op for op in ops if op in self.flow.inputs]

    def _sort(self) -> None:
        """Compute the ops that depend on trained variables, on data and on the mode, then the trunk and the closure."""
        flow = self.flow
        self.live = self._whole_regions(flow.descendants(self.live_ops))
        kinds = {name: self.graph.nodes[name].op for name in flow.inputs}
        self.sources = {
            name for name, kind in kinds.items() if (kind in PLACEHOLDERS and name not in self.modes) or kind in STREAMS
        }
        self.data = flow.descendants(self.sources)
        self.by_mode = flow.descendants(self.modes)
        self.mode_only = self.by_mode - self.data - flow.descendants([*self.live_ops, *self.frozen_ops])
        self.weights = flow.descendants(self.frozen_ops) - self.data - self.live
        self.trunk = self._trunk()
        marks = self._marks(self.trunk)
        shared = {op for op in self.mode_only if flow.regions.get(op) not in marks}
        self.core = self.trunk - self.sources - shared
        restless = {  # values that differ in each run, also through called functions, or in each batch
            name
            for name in flow.inputs
            if self.graph.nodes[name].op in STATEFUL
            or any(node.op in RANDOM for node in self.functions.nodes(self.graph.nodes[name]))
        }
        restless |= {
            ref.op for norm in batch_norms(self.graph) for ref in (norm.mean, norm.variance)
        } & flow.inputs.keys()
        bad = {*self.live, *self.sources, *self.modes, *restless, *(self.mode_only - self.core)} - self.core
        bad = self._whole_regions(flow.descendants(bad, stop=self.core))
        self.closure = self.core | (flow.descendants(self.core & self.data) - bad)
        shapes = {name for name in flow.inputs if self.graph.nodes[name].op in SHAPES}
        self.by_shape = self.data - flow.descendants(self.sources, stop=shapes)

    def _marks(self, ops: Iterable[str]) -> set[str | None]:
        """Return the marks of the regions of ops, ignoring constants that depend only on the mode."""
        return {self.flow.regions.get(op) for op in ops if op not in self.mode_only} - {None}

    def _whole_regions(self, ops: set[str]) -> set[str]:
        """Return ops with the rest of every conditional or loop that they are in, and all ops that depend on these."""
        while True:
            marks = {self.flow.regions[op] for op in ops if op in self.flow.regions}
            added = {op for op, mark in self.flow.regions.items() if mark in marks} - ops - self.core
            if not added:
                return ops
            ops = ops | self.flow.descendants(added, stop=self.core)

    def _trunk(self) -> set[str]:
        """Return the ops that compute with frozen variables and data, their ancestors, and their whole conditionals."""
        consumers = {
            op for op in self.data - self.live if any(source in self.weights for source in self.flow.inputs[op])
        }
        trunk = self.flow.ancestors(consumers)
        while True:
            marks = self._marks(trunk)
            grown = trunk | self.flow.ancestors(op for op, mark in self.flow.regions.items() if mark in marks)
            if grown == trunk:
                return trunk
            trunk = grown

    def part(self) -> FrozenPart:
        """Return the frozen part: the tensors that leave the closure by kind, and the ops that prevent caching."""
        order = {name: position for position, name in enumerate(self.graph.nodes)}
        outgoing = sorted(self._outgoing(), key=lambda ref: (order[ref.op], ref.index))
        computed = [ref for ref in outgoing if ref.op not in self.sources]
        features = [str(ref) for ref in computed if ref.op in self.data]
        random, mixing = disturbances(self.graph, self.flow, features, self.modes)
        below = {op for op in self.frozen_ops if op in self.trunk}
        above = set(self.frozen_ops) - below
        return FrozenPart(
            variables=tuple(key for key in self.frozen if self.described[key].op in below),
            above=tuple(key for key in self.frozen if self.described[key].op in above),
            ops=frozenset(self.closure),
            features=tuple(features),
            direct=tuple(str(ref) for ref in outgoing if ref.op in self.sources),
            constants=tuple(str(ref) for ref in computed if ref.op not in self.data),
            training=tuple(self.modes),
            pinned=frozenset(self._pinned()),
            random_ops=tuple(random),
            batch_ops=tuple(mixing),
        )

    def _outgoing(self) -> set[TensorRef]:
        """Return the tensors of the closure and of the sources that the rest reads.

        Shapes, and lists of tensors (which a cache cannot store), are replaced by the tensors from which they are made.
        """
        readers = [name for name in self.flow.inputs if name not in self.closure]
        todo = [ref for name in readers for ref in self.graph.inputs(name)] + self.targets
        outgoing: set[TensorRef] = set()
        seen: set[TensorRef] = set()
        while todo:
            ref = todo.pop()
            if ref in seen:
                continue
            seen.add(ref)
            if ref.op in self.closure and (ref.op in self.by_shape or self._is_list(ref)):
                todo.extend(self.graph.inputs(ref.op))
            elif ref.op in self.closure or ref.op in self.sources:
                outgoing.add(ref)
        return outgoing

    def _is_list(self, ref: TensorRef) -> bool:
        return ref.op in self.data and dtype_of_output(self.graph, ref) is VARIANT

    def _pinned(self) -> set[str]:
        """Return the ops that must read the mode as False: whole frozen conditionals, with their gradients."""
        regions = self.whole.regions
        frozen = self.core | self._frozen_above()
        marks = {regions[op] for op in frozen if op in regions}
        return frozen | {op for op, mark in regions.items() if mark in marks}

    def _frozen_above(self) -> set[str]:
        """Return the ops above trained layers that depend on the mode and use only frozen weights."""
        trained = self.flow.descendants(self.live_ops) - self.data
        weights = self.flow.descendants(self.frozen_ops) - self.data - trained
        spoiled = {mark for op in trained if (mark := self.flow.regions.get(op))}
        above = set()
        for name in self.by_mode - self.trunk:
            reads = self.flow.inputs[name]
            in_region = name in self.flow.regions and name in weights and self.flow.regions[name] not in spoiled
            chooses = self.graph.nodes[name].op in CONDITIONALS | SELECTS and not any(op in trained for op in reads)
            if in_region or (chooses and any(op in weights for op in reads)):
                above.add(name)
        return above
