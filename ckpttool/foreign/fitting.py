"""Checks whether tensors fit variables by shapes and dtypes, and determines the layout from evidence."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import PlanError
from ckpttool.core.suggestions import Suggestions
from ckpttool.foreign.evidence import FRAMEWORKS, CertainLayouts, Evidence, certain_layouts, has_outputs_first, kind_of
from ckpttool.foreign.names import part_word
from ckpttool.foreign.parametrised import Resolved, is_parametrisation
from ckpttool.foreign.readers import Reading, forget_bias, inlined, reading
from ckpttool.foreign.rules import AUTO, TensorMove
from ckpttool.graph.contents.stored import StoredTensor, stored_alone, stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.layouts import parse_layout
from ckpttool.layouts.candidates import candidates
from ckpttool.layouts.layout import Keep, Layout, Shape
from ckpttool.layouts.recurrent import Lstm


@dataclass(frozen=True)
class Pair:
    """Tensors of a source, the variables that they become (names in the checkpoint), and the layout.

    `others` are layouts that also fit, if no rule specifies one.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    layout: Layout
    others: tuple[Layout, ...] = ()

    def described(self, names: Sequence[str]) -> str:
        """Return the names of one side, and the layout unless it is `keep`."""
        return " ".join(names) if isinstance(self.layout, Keep) else f"{' '.join(names)} by {self.layout}"


@dataclass(frozen=True)
class Fitting:
    """A source's tensors checked against a graph's variables; with `cast`, numbers may change their dtype.

    `moves` are the moves of all tensors. If `tried`, layouts that shapes leave open will be tried on a reference;
    otherwise, such a tensor is refused unless there is evidence that it needs no conversion. `held` is the checkpoint
    to fill if there is no graph.
    """

    file: Resolved
    graph: Graph
    moves: tuple[TensorMove, ...]
    cast: bool
    tried: bool
    held: Checkpoint | None = None

    @cached_property
    def wanted(self) -> Mapping[str, StoredTensor]:
        """The tensors of the graph's checkpoint, or of the checkpoint without a graph, by name."""
        return stored_tensors(self.graph) if self.held is None else stored_alone(self.held)

    @property
    def weights(self) -> Checkpoint:
        """The source's tensors."""
        return self.file.weights

    @property
    def path(self) -> Path:
        """The source, for messages."""
        return self.weights.path or Path("the weights")

    @property
    def graph_name(self) -> str:
        """The graph's file, for messages."""
        return Path(self.graph.source).name

    @cached_property
    def _kinds(self) -> Mapping[str, str]:
        return self.weights.kinds()

    @cached_property
    def _nearest(self) -> Suggestions:
        return Suggestions(self.wanted)

    def is_state(self, move: TensorMove) -> bool:
        """Return whether tensors are training state that the graph does not have, which is not an error."""
        no_weights = all(self._kinds[name] != "weight" for name in move.sources)
        return no_weights and not self.wanted.keys() & {*move.targets}

    def pairs(self, named: Sequence[TensorMove]) -> tuple[list[Pair], list[str]]:
        """Return the pairs that fit, and messages about the others."""
        pairs, problems = [], []
        for move in named:
            try:
                pairs.append(self._pair(move))
            except PlanError as problem:
                problems.append(str(problem))
        return pairs, problems

    def contradicted(self, pairs: Sequence[Pair]) -> Iterator[str]:
        """Yield messages about kernels for which a rule's transform contradicts the file's ops that read them."""
        for pair in (pair for pair in pairs if len(pair.sources) == len(pair.targets) == 1):
            first, target = self._evidence.arrangement(pair.sources[0]).outputs_first, self.wanted[pair.targets[0]]
            ways = self._ways(pair.sources[0], target) if first is not None else []
            if ways and has_outputs_first(ways[0]) is first is not has_outputs_first(pair.layout):
                op_says = f"though transform = '{ways[0]}' is what its op in the file says"
                yield f"{pair.sources[0]} by {pair.layout}, {op_says}"

    def _pair(self, move: TensorMove) -> Pair:
        """Return the pair for a move.

        Raises:
            PlanError: a variable does not exist, or a shape or dtype does not fit; the message has the remedy.
        """
        old = " ".join(move.sources)
        for name in move.sources if not is_parametrisation(move.transform) else ():
            self.file.require_whole(name)
        for name in move.targets:
            if name not in self.wanted:
                renamed = "" if old == name else f" ({name})"
                nearest = self._nearest.of(name)
                raise PlanError(f"{self._here(old)}{renamed} is not a variable of {self.graph_name}{nearest}")
        targets = [self.wanted[name] for name in move.targets]
        layout = self._layout(move, targets)
        self._check_shapes(move, layout, targets)
        for target in targets:
            self._check_dtype(move.sources, target)
        return Pair(move.sources, move.targets, layout, self._others(move, targets))

    def _layout(self, move: TensorMove, targets: Sequence[StoredTensor]) -> Layout:
        here = self._here(" ".join(move.sources))
        if move.transform not in (None, AUTO):
            layout = parse_layout(str(move.transform)).fitted([self.weights[name].shape for name in move.sources])
            if isinstance(layout, Lstm) and layout.target == "tf1" != layout.source:
                added = forget_bias(self.graph, targets[0])
                if added is not None and added != layout.forget_bias:
                    raise PlanError(
                        f"{here}: {layout} subtracts {layout.forget_bias:g} from the forget gates, but "
                        f"{self.graph_name} "
                        f"adds {added:g} to those of {targets[0].name}: specify "
                        f"transform = '{replace(layout, forget_bias=added)}'"
                    )
            return layout
        if len(move.sources) != 1 or len(targets) != 1:
            raise PlanError(f"{here}: a rule with several tensors needs a transform")
        source, target = move.sources[0], targets[0]
        ways, first = self._ways(source, target), self._outputs_first(source, target)
        if move.transform == AUTO:
            if len(ways) > 1 and first is None and not self._reading(target).is_known:
                raise PlanError(f"{here} {self._either(source, target, ways)}")
            # `auto` assumes PyTorch's layout, unless there is evidence that this tensor has another one
            fitting = [way for way in ways if has_outputs_first(way) is not (first is False)] or ways
            return fitting[0] if fitting else self._reading(target).turning
        if move.sources == move.targets and self._is_turned(source, target, ways):
            return ways[0]
        if not self.tried and self._is_doubtful(source, target, ways, first):
            raise PlanError(f"{here} {self._either(source, target, ways)}")
        return Keep()

    def _is_turned(self, source: str, target: StoredTensor, ways: Sequence[Layout]) -> bool:
        """Return whether a tensor with the same name has outputs first, by its shape or by those of other kernels."""
        read = self._reading(target)
        if not read.is_known or not ways or not has_outputs_first(ways[0]):
            return False
        kernels = self._certain.conv if kind_of(read, ways[0]) == "conv" else self._certain.dense
        return self.weights[source].shape != target.shape or kernels == {True}

    def _is_doubtful(self, source: str, target: StoredTensor, ways: Sequence[Layout], first: bool | None) -> bool:
        """Return whether an unconverted tensor may have to be transposed, which its shape does not show."""
        if self.weights[source].shape != target.shape or all(isinstance(way, Keep) for way in ways):
            return False
        if len(ways) == 1 or first is not None:
            return len(ways) == 1 or first is True
        theirs = FRAMEWORKS.get(self._evidence.framework or "")
        if self.held is not None and theirs is not None and theirs is FRAMEWORKS.get(self.held.framework or ""):
            return False  # both have the same layout
        return part_word(source) != part_word(target.name)  # else it is the same variable, in the same framework

    def _either(self, source: str, target: StoredTensor, ways: Sequence[Layout]) -> str:
        """Return, as the end of a message, why a tensor's layout is ambiguous, and the remedy."""
        shape, named = list(self.weights[source].shape), f"{target.name} in {self.graph_name}"
        others = [f"'{way}'" for way in ways if not isinstance(way, Keep)]
        reference = ", or a reference decides it" if self.held is None else ""
        settled = f"specify transform = {' or '.join(others)}, or 'keep', in a rule{reference}"
        if self._evidence.arrangement(source).outputs_first is not None:
            return f"is {shape} either way, but by the ops of the file {named} needs it differently: {settled}"
        if not self._reading(target).is_known:
            return f"is {shape} either way, and no op shows how {named} is read: {settled}"
        if self._evidence.framework == "torch":
            return f"is {shape} either way, and {named} is a kernel, which PyTorch stores transposed: {settled}"
        if self._outputs_first(source, target):
            return f"is {shape} either way, and the file's other kernels are transposed for {named}: {settled}"
        return f"is {shape} either way, and nothing shows whether {named} is its transpose: {settled}"

    @cached_property
    def _evidence(self) -> Evidence:
        return Evidence(self.weights)

    @cached_property
    def _readings(self) -> dict[str, Reading]:
        return {}

    def _reading(self, target: StoredTensor) -> Reading:
        """Return how the graph reads a variable; cached."""
        if target.name not in self._readings:
            self._readings[target.name] = reading(self._inlined, target)
        return self._readings[target.name]

    @cached_property
    def _inlined(self) -> Graph:
        return inlined(self.graph)

    def _ways(self, source: str, target: StoredTensor) -> list[Layout]:
        """Return the layouts that fit by shapes and by the source's ops."""
        return self._evidence.ways(source, self.weights[source].shape, self._reading(target), target.shape or ())

    def _outputs_first(self, source: str, target: StoredTensor) -> bool | None:
        """Return whether a tensor has its outputs first, or None if there is no evidence."""
        ways, read = self._ways(source, target), self._reading(target)
        if len(ways) < 2:
            return has_outputs_first(ways[0]) if ways else None
        first = self._evidence.outputs_first(kind_of(read, ways[0]), self._certain)
        return first if read.is_known or not first else None

    @cached_property
    def _certain(self) -> CertainLayouts:
        """The layouts of kernels that are paired one to one and whose shape determines it, regardless of rules."""
        single = ((move.sources[0], move.targets[0]) for move in self.moves if len(move.sources + move.targets) == 2)
        paired = ((name, self.wanted[target]) for name, target in single if target in self.wanted)
        return certain_layouts((self._reading(target), self._ways(name, target)) for name, target in paired)

    def _others(self, move: TensorMove, targets: Sequence[StoredTensor]) -> tuple[Layout, ...]:
        """Return the other layouts that fit an unconverted tensor, if no rule specifies one."""
        if move.transform is not None or len(move.sources) != 1 or len(targets) != 1:
            return ()
        if self.weights[move.sources[0]].shape != targets[0].shape:
            return ()
        return tuple(way for way in self._ways(move.sources[0], targets[0]) if not isinstance(way, Keep))

    def _check_shapes(self, move: TensorMove, layout: Layout, targets: Sequence[StoredTensor]) -> None:
        shapes = [self.weights[name].shape for name in move.sources]
        here = self._here(" ".join(move.sources))
        try:
            made = layout.shapes(shapes)
        except PlanError as error:
            raise PlanError(f"{here}: {error}{_suggested(shapes, targets)}") from error
        if len(made) != len(targets):
            raise PlanError(f"{here}: {layout} makes {counted(len(made), 'tensor')}, but the rule names {len(targets)}")
        for shape, target in zip(made, targets, strict=True):
            if target.shape not in (None, shape):
                given = " ".join(str(list(each)) for each in shapes)
                by = "" if isinstance(layout, Keep) else f", by {layout} {list(shape)}"
                wanted = f"{target.name} in {self.graph_name} is {list(target.shape or ())}"
                raise PlanError(f"{here} is {given}{by}, {wanted}{_suggested(shapes, targets)}")

    def _check_dtype(self, sources: Sequence[str], target: StoredTensor) -> None:
        for name in sources:
            dtype = self.weights[name].dtype
            castable = dtype.is_number and target.dtype.is_number
            if dtype is not target.dtype and not (self.cast and castable):
                hint = "; `cast` changes it" if castable else ""
                given = f"{self._here(name)} is {dtype}"
                raise PlanError(f"{given}, {target.name} in {self.graph_name} is {target.dtype}{hint}")

    def _here(self, name: str) -> str:
        return f"{self.path.name}: {name}"


def _suggested(shapes: Sequence[Shape], targets: Sequence[StoredTensor]) -> str:
    """Return, as the end of a message, the transforms with which tensors would fit; empty if there are none."""
    fitting = candidates(shapes, targets[0].shape) if len(targets) == 1 and targets[0].shape is not None else []
    ways = [f"'{layout}'" for layout in fitting if isinstance(layout, type(fitting[0]))]
    return f": transform = {' or '.join(ways)} in a rule makes it fit" if ways else ""
