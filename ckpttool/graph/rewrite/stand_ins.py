"""What stands in the places of ops that are gone: the tensors that are read, and the ops that are waited for."""

from collections.abc import Mapping, Sequence

from ckpttool.core.errors import GraphError
from ckpttool.formats.wire.protos.graph_pb2 import NodeDef


class StandIns:
    """What is read and waited for instead of ops that are gone; what is put in may be gone itself.

    >>> places = StandIns("model")
    >>> places.values["call"], places.waits["call"] = "dense/BiasAdd", ["dense/BiasAdd", "update"]
    >>> places.inputs(["call", "x", "^call"])
    ['dense/BiasAdd', 'x', '^call']
    >>> [list(node.input) for node in places.gathered.values()]
    [['^dense/BiasAdd', '^update']]
    """

    def __init__(self, source: str) -> None:
        """Begin with nothing; `source` is the path that errors name."""
        self.source = source
        self.values: dict[str, str] = {}
        """By a tensor that is gone the one in its place."""
        self.waits: dict[str, Sequence[str]] = {}
        """By an op that is gone, or only gathers what it waits for, the ops that are waited for in its place."""
        self.gathered: dict[str, NodeDef] = {}
        """The ops without a value that wait for several in the place of one, by name."""
        self._stands: dict[str, str | None] = {}
        """The one op that stands for another, once it is known; None where there is nothing to wait for."""

    def inputs(self, texts: Sequence[str]) -> list[str]:
        """Return an op's inputs as they are now, each op that is waited for once.

        Raises:
            GraphError: one stands for itself, or is not an output of a call.
        """
        data = [self.value(text) for text in texts if not text.startswith("^")]
        control = [self.awaited(text[1:]) for text in texts if text.startswith("^")]
        return [*data, *dict.fromkeys(f"^{op}" for op in control if op is not None)]

    def value(self, text: str) -> str:
        """Return the tensor that stands for one that may be gone.

        Raises:
            GraphError: it stands for itself, or is not an output of a call.
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
        """Return the op to wait for in the place of one that may be gone, where there is anything to wait for.

        Raises:
            GraphError: it waits for itself.
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
        """Let an op of this name be there, which waits for what stands for the one that is gone."""
        stands = self.awaited(name)
        if stands != name:
            self.gathered[name] = NodeDef(name=name, op="NoOp", input=[f"^{stands}"] if stands else [])

    def _gathering(self, name: str, stands: Mapping[str, str | None]) -> str | None:
        """Return the op that stands for one of which all that it waits for is known."""
        ops = [each for each in dict.fromkeys(stands.get(each, each) for each in self.waits[name]) if each is not None]
        if len(ops) < 2:
            return next(iter(ops), None)
        self.gathered[name] = NodeDef(name=name, op="NoOp", input=[f"^{op}" for op in ops])
        return name


def op_of(text: str) -> str:
    """Return the op of a tensor, as ops write it in their inputs.

    >>> op_of("split:1")
    'split'
    """
    return text.partition(":")[0]
