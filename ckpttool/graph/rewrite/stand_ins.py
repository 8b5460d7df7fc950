"""Replacements of removed ops: the tensors to read, and the ops to wait for, instead of them."""

from collections.abc import Mapping, Sequence

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef


class StandIns:
    """The tensors and ops that replace removed ones; a replacement may itself be replaced.

    >>> places = StandIns("model")
    >>> places.values["call"], places.waits["call"] = "dense/BiasAdd", ["dense/BiasAdd", "update"]
    >>> places.inputs(["call", "x", "^call"])
    ['dense/BiasAdd', 'x', '^call']
    >>> [list(node.input) for node in places.gathered.values()]
    [['^dense/BiasAdd', '^update']]
    """

    def __init__(self, source: str) -> None:
        """Start without replacements; `source` is the path for error messages."""
        self.source = source
        self.values: dict[str, str] = {}
        """The replacement of each removed tensor."""
        self.waits: dict[str, Sequence[str]] = {}
        """The ops to wait for instead of each removed op, or of an op that has only control inputs."""
        self.gathered: dict[str, NodeDef] = {}
        """NoOps that wait for several ops in place of one, by name."""
        self._stands: dict[str, str | None] = {}
        """The resolved op to wait for instead of each op; None if there is nothing to wait for."""

    def inputs(self, texts: Sequence[str]) -> list[str]:
        """Return an op's inputs after replacement, without duplicate control inputs.

        Raises:
            GraphError: a replacement is circular, or a tensor is not an output of a call.
        """
        data = [self.value(text) for text in texts if not text.startswith("^")]
        control = [self.awaited(text[1:]) for text in texts if text.startswith("^")]
        return [*data, *dict.fromkeys(f"^{op}" for op in control if op is not None)]

    def value(self, text: str) -> str:
        """Return the replacement of a tensor, or the tensor itself if it was not removed.

        Raises:
            GraphError: the replacement is circular, or the tensor is not an output of a call.
        """
        path: dict[str, None] = {}
        found = text.removesuffix(":0")
        while found in self.values:
            if found in path:
                raise GraphError(f"{self.source}: {text} is passed among functions endlessly")
            path[found] = None
            found = self.values[found]
        if op_of(found) in self.waits:
            raise GraphError(f"{self.source}: an op reads {found}, which is not an output of the function called there")
        self.values.update(dict.fromkeys(path, found))
        return found if path else text

    def awaited(self, name: str) -> str | None:
        """Return the op to wait for instead of an op that may have been removed; None if there is nothing to wait for.

        Raises:
            GraphError: the op would wait for itself.
        """
        todo, opened = [name], set[str]()
        while todo:
            last = todo[-1]
            if last not in self.waits or last in self._stands:
                todo.pop()
                continue
            inner = [each for each in self.waits[last] if each in self.waits and each not in self._stands]
            if not inner:
                self._stands[last] = self._gathering(last, self._stands)
            elif last in opened:
                raise GraphError(f"{self.source}: {last} is an op of a function that depends on itself")
            else:
                opened.add(last)
                todo += inner
        return self._stands.get(name, name)

    def gathering(self, name: str) -> None:
        """Add a NoOp with the name of a removed op, which waits for its replacement."""
        stands = self.awaited(name)
        if stands != name:
            self.gathered[name] = NodeDef(name=name, op="NoOp", input=[f"^{stands}"] if stands else [])

    def _gathering(self, name: str, stands: Mapping[str, str | None]) -> str | None:
        """Return the op to wait for instead of one whose control inputs are resolved; a NoOp if there are several."""
        ops = [each for each in dict.fromkeys(stands.get(each, each) for each in self.waits[name]) if each is not None]
        if len(ops) < 2:
            return next(iter(ops), None)
        self.gathered[name] = NodeDef(name=name, op="NoOp", input=[f"^{op}" for op in ops])
        return name


def op_of(text: str) -> str:
    """Return the op of a tensor in the notation of node inputs.

    >>> op_of("split:1")
    'split'
    """
    return text.partition(":")[0]
