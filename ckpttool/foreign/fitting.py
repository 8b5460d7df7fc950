"""Whether tensors fit the variables that they are to become: names, shapes under a layout, dtypes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.names import Suggestions
from ckpttool.core.variable_kinds import Kind
from ckpttool.foreign.layouts import parse_layout
from ckpttool.foreign.layouts.candidates import candidates
from ckpttool.foreign.layouts.keep import Keep
from ckpttool.foreign.layouts.layout import Layout, Shape
from ckpttool.foreign.layouts.lstm import Lstm
from ckpttool.foreign.layouts.pointwise import pointwise
from ckpttool.foreign.readers import forget_bias, is_of_torch, layout_by_reader
from ckpttool.foreign.rules import AUTO, Move
from ckpttool.graph.contents.stored import StoredTensor, stored_tensors
from ckpttool.graph.core import Graph


@dataclass(frozen=True)
class Pair:
    """Tensors of a source, the variables that they become, by their names in the checkpoint, and how.

    `others` are layouts that fit as well where no rule says one.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    layout: Layout
    others: tuple[Layout, ...] = ()

    def described(self, names: Sequence[str]) -> str:
        """Return the names of one side, and the layout that is not plain `keep`."""
        return " ".join(names) if isinstance(self.layout, Keep) else f"{' '.join(names)} by {self.layout}"


@dataclass(frozen=True)
class Fitting:
    """A source's tensors held against a graph's variables; with `cast` numbers may change their dtype.

    What shapes leave open will be `tried` on a sample, or is refused where the source is one of PyTorch.
    """

    weights: Checkpoint
    graph: Graph
    cast: bool = False
    tried: bool = False

    @property
    def wanted(self) -> Mapping[str, StoredTensor]:
        """What the graph's checkpoint holds, by name."""
        return stored_tensors(self.graph)

    @cached_property
    def kinds(self) -> dict[str, Kind]:
        """The kinds of the source's tensors."""
        return self.weights.kinds()

    @cached_property
    def _nearest(self) -> Suggestions:
        return Suggestions(self.wanted)

    @property
    def path(self) -> Path:
        """The source, for messages."""
        return self.weights.path or Path("the weights")

    def pair(self, move: Move) -> Pair:
        """Return the pair that a move makes.

        Raises:
            PlanError: a variable is not there, or a shape or a dtype does not fit; the message says what would.
        """
        targets = [self._target(move, name) for name in move.targets]
        layout = self._layout(move, targets)
        self._check_shapes(move, layout, targets)
        for target in targets:
            self._check_dtype(move.sources, target)
        return Pair(move.sources, move.targets, layout, self._others(move, targets))

    def _target(self, move: Move, name: str) -> StoredTensor:
        if name in self.wanted:
            return self.wanted[name]
        old = " ".join(move.sources)
        became = "" if old == name else f" ({name})"
        raise PlanError(f"{self._here(old)}{became} is no variable of {self._graph}{self._nearest.of(name)}")

    def _layout(self, move: Move, targets: Sequence[StoredTensor]) -> Layout:
        if move.transform not in (None, AUTO):
            layout = parse_layout(str(move.transform)).fitted([self.weights[name].shape for name in move.sources])
            self._check_forget_bias(move, layout, targets)
            return layout
        if len(move.sources) != 1 or len(targets) != 1:
            raise PlanError(f"{self._here(' '.join(move.sources))}: several tensors need a transform in their rule")
        by_reader = layout_by_reader(self.graph, targets[0])
        if move.transform == AUTO:
            return self._windowed(by_reader, move, targets[0])
        if is_of_torch(self.weights) and not self.tried and self._others(move, targets):
            shape = list(self.weights[move.sources[0]].shape)
            raise PlanError(
                f"{self._here(move.sources[0])} is {shape} either way, and {targets[0].name} in {self._graph} is a "
                f"kernel, which PyTorch turns over: a rule says transform = '{by_reader}', or 'keep', or a sample tells"
            )
        return Keep()

    def _check_forget_bias(self, move: Move, layout: Layout, targets: Sequence[StoredTensor]) -> None:
        if not isinstance(layout, Lstm) or layout.target != "tf1" or layout.source == "tf1":
            return
        added = forget_bias(self.graph, targets[0])
        if added is not None and added != layout.forget_bias:
            right = replace(layout, forget_bias=added)
            raise PlanError(
                f"{self._here(' '.join(move.sources))}: {layout} takes {layout.forget_bias:g} off the forget gates, "
                f"and {self._graph} adds {added:g} to those of {targets[0].name}: transform = '{right}'"
            )

    def _windowed(self, by_reader: Layout, move: Move, target: StoredTensor) -> Layout:
        """Return what a kernel needs that is a matrix where the graph's has a window, else what its op says."""
        ways = pointwise(self.weights[move.sources[0]].shape, target.shape or ())
        turned = [way for way in ways if way.form == "torch"]
        return turned[0] if turned and not isinstance(by_reader, Keep) else by_reader

    def _others(self, move: Move, targets: Sequence[StoredTensor]) -> tuple[Layout, ...]:
        """Return the layout that turns a kernel over, where its shape does not tell whether it was."""
        if move.transform is not None or len(move.sources) != 1:
            return ()
        shape = self.weights[move.sources[0]].shape
        if len(shape) < 2 or shape != targets[0].shape:
            return ()
        turning = layout_by_reader(self.graph, targets[0])
        return (turning,) if not isinstance(turning, Keep) and shape in turning.made_of([shape]) else ()

    def _check_shapes(self, move: Move, layout: Layout, targets: Sequence[StoredTensor]) -> None:
        shapes = [self.weights[name].shape for name in move.sources]
        here = self._here(" ".join(move.sources))
        try:
            made = layout.shapes(shapes)
        except PlanError as error:
            raise PlanError(f"{here}: {error}{_suggested(shapes, targets)}") from error
        if len(made) != len(targets):
            raise PlanError(f"{here}: {layout} makes {len(made)} tensors, and the rule names {len(targets)}")
        for shape, target in zip(made, targets, strict=True):
            if target.shape not in (None, shape):
                found = " ".join(str(list(each)) for each in shapes)
                by = "" if isinstance(layout, Keep) else f", by {layout} {list(shape)}"
                wanted = f"{target.name} in {self._graph} is {list(target.shape or ())}"
                raise PlanError(f"{here} is {found}{by}, {wanted}{_suggested(shapes, targets)}")

    def _check_dtype(self, sources: Sequence[str], target: StoredTensor) -> None:
        for name in sources:
            dtype = self.weights[name].dtype
            castable = dtype.is_number and target.dtype.is_number
            if dtype is target.dtype or (self.cast and castable):
                continue
            hint = "; --cast changes it" if castable else ""
            here = f"{self._here(name)} is {dtype}"
            raise PlanError(f"{here}, {target.name} in {self._graph} is {target.dtype}{hint}")

    def _here(self, name: str) -> str:
        return f"{self.path.name}: {name}"

    @property
    def _graph(self) -> str:
        return Path(self.graph.source).name


def _suggested(shapes: Sequence[Shape], targets: Sequence[StoredTensor]) -> str:
    """Return, as the end of a message, the transform under which a tensor would fit, if one would."""
    fitting = candidates(shapes, targets[0].shape) if len(targets) == 1 and targets[0].shape is not None else []
    ways = [f"'{layout}'" for layout in fitting if isinstance(layout, type(fitting[0]))]
    return f": transform = {' or '.join(ways)} in a rule makes it fit" if ways else ""
