"""Graphs with false sizes, nesting or repetition: `.meta`, `saved_model.pb`; cycles of ops and functions; doubling."""

from collections.abc import Callable, Iterator, Sized
from functools import partial
from pathlib import Path
from typing import Any

from crafting import Case, Reader, file, refusals

from ckpttool.formats.wire import varint
from ckpttool.formats.wire.protos.meta_graph_pb2 import MetaGraphDef, SavedModel


def ways(path: Path) -> dict[str, Callable[[], Any]]:
    """Return the ways to read a graph: open it as a model, list its layers, ops and collections, and scan it."""
    from ckpttool.graph import files
    from ckpttool.model.model import Model
    from ckpttool.verbs.collections import collection_rows
    from ckpttool.verbs.layers import layer_rows
    from ckpttool.verbs.ops import op_rows
    from ckpttool.verbs.scan import scan

    return {
        "load": lambda: files.load(path).nodes,
        "open": lambda: Model.open(path).graph.nodes,
        "layers": lambda: layer_rows(path),
        "ops": lambda: op_rows(path),
        "collections": lambda: collection_rows(path),
        "scan": lambda: scan([path]).found,
    }


def looked_at(path: Path, *names: str) -> str:
    """Read a graph in all ways, or in the given ones."""
    chosen = {name: way for name, way in ways(path).items() if name in names or not names}
    return "; ".join(f"{name} {refusals(partial(_counted, way))(path)[:60]}" for name, way in chosen.items())


def looking(way: str) -> Reader:
    """Return a reader that reads a graph in one way."""
    return lambda path: looked_at(path, way)


def _counted(way: Callable[[], Sized], path: Path) -> int:
    del path
    return len(way())


def graph(fill: Callable[[Any], object]) -> Callable[[], bytes]:
    """Return a function that returns the bytes of a graph, filled by `fill`."""

    def content() -> bytes:
        meta = MetaGraphDef()
        fill(meta)
        return meta.SerializeToString()

    return content


def case(name: str, content: Callable[[], bytes]) -> Case:
    """Return a case of a `.meta` file with this content."""
    return Case(f"graph: {name}", file("x.meta", content), looked_at)


def node(meta: Any, name: str, op: str = "Identity", inputs: tuple[str, ...] = ()) -> Any:
    """Add an op."""
    return meta.graph_def.node.add(name=name, op=op, input=inputs)


def chain(count: int) -> Callable[[Any], object]:
    """Ops in a chain."""

    def fill(meta: Any) -> None:
        node(meta, "n0", "Placeholder")
        for number in range(1, count):
            node(meta, f"n{number}", inputs=(f"n{number - 1}",))

    return fill


def ring(count: int) -> Callable[[Any], object]:
    """Ops in a cycle."""

    def fill(meta: Any) -> None:
        for number in range(count):
            node(meta, f"n{number}", inputs=(f"n{(number + 1) % count}",))

    return fill


def dense(count: int, mark: str = "") -> Callable[[Any], object]:
    """Ops that each read all previous ones."""

    def fill(meta: Any) -> None:
        for number in range(count):
            node(meta, f"n{number}", "AddN", tuple(f"{mark}n{before}" for before in range(number)))

    return fill


def calls(levels: int, twice: int, op: str = "PartitionedCall", back: bool = False) -> Callable[[Any], object]:
    """Functions that each call the next `twice` times; with `back`, the last calls the first."""

    def fill(meta: Any) -> None:
        call = node(meta, "call", op)
        call.attr["f"].func.name = "f0"
        for level in range(levels):
            function = meta.graph_def.library.function.add()
            function.signature.name = f"f{level}"
            following = level + 1 if level + 1 < levels else 0
            if level + 1 == levels and not back:
                function.node_def.add(name="n", op="NoOp")
                continue
            for number in range(twice):
                inner = function.node_def.add(name=f"c{number}", op=op)
                for key in ("f", "then_branch", "else_branch", "cond", "body"):
                    inner.attr[key].func.name = f"f{following}"

    return fill


def constant(shape: list[int], content: bytes, kind: int = 1) -> Callable[[Any], object]:
    """A constant with this shape, whether or not its content has it."""

    def fill(meta: Any) -> None:
        value = node(meta, "c", "Const").attr["value"].tensor
        value.dtype, value.tensor_content = kind, content
        for size in shape:
            value.tensor_shape.dim.add(size=size)

    return fill


def variables(count: int) -> Callable[[Any], object]:
    """Variables, each in its own scope, with huge shapes."""

    def fill(meta: Any) -> None:
        for number in range(count):
            made = node(meta, f"s{number}/kernel", "VariableV2")
            made.attr["dtype"].type = 1
            made.attr["shape"].shape.dim.add(size=1 << 40)

    return fill


def collection(count: int) -> Callable[[Any], object]:
    """A collection with many names."""
    return lambda meta: meta.collection_def["x"].node_list.value.extend(f"n{number}:0" for number in range(count))


def nested(levels: int, *path: int) -> bytes:
    """Return nested messages, in the fields with these numbers."""
    body = b""
    for level in range(levels):
        body = varint.encode(path[level % len(path)] << 3 | 2) + varint.encode(len(body)) + body
    return body


def saved_model(name: str, fill: Callable[[Any], object]) -> Case:
    """Return a case of a SavedModel folder."""

    def make(folder: Path) -> Path:
        model = SavedModel(saved_model_schema_version=1)
        fill(model)
        (folder / "saved_model.pb").write_bytes(model.SerializeToString())
        return folder

    return Case(f"SavedModel: {name}", make, looked_at)


def graphs(count: int, tag: str = "serve") -> Callable[[Any], object]:
    """Many graphs."""

    def fill(model: Any) -> None:
        for number in range(count):
            each = model.meta_graphs.add()
            each.meta_info_def.tags.append(tag.format(number))
            node(each, "x", "Placeholder")

    return fill


def names(*texts: str) -> Callable[[Any], object]:
    """Ops with the given names."""

    def fill(meta: Any) -> None:
        for text in texts:
            node(meta, text, "NoOp")

    return fill


def cases() -> Iterator[Case]:
    """Yield the cases."""
    for count in (10, 1000, 50_000):
        yield case(f"a chain of {count} ops", graph(chain(count)))
        yield case(f"a circle of {count} ops", graph(ring(count)))
    for count in (100, 1000):
        yield case(f"{count} ops, each reads all before", graph(dense(count)))
        yield case(f"{count} ops, each waits for all before", graph(dense(count, "^")))
    for op in ("PartitionedCall", "StatefulPartitionedCall", "If", "While", "MapDataset"):
        for levels, twice in ((3, 1), (100, 1), (3000, 1), (12, 2), (40, 2), (8, 20)):
            yield case(
                f"{levels} functions by {op}, each calls the next {twice} times", graph(calls(levels, twice, op))
            )
        for levels in (1, 2, 50):
            yield case(f"a circle of {levels} functions by {op}", graph(calls(levels, 1, op, back=True)))
    for shape in ([1 << 40], [-1], [1 << 20, 1 << 20, 1 << 20], [0, 1 << 60], [1 << 62, 1 << 62]):
        yield case(f"a constant of {shape}", graph(constant(shape, b"x")))
        yield case(f"a constant of texts {shape}", graph(constant(shape, b"x", 7)))
    yield case("a constant of 100,000 dimensions", graph(constant([1] * 100_000, b"xxxx")))
    yield case("a constant of type 9999", graph(constant([1], b"xxxx", 9999)))
    for count in (1000, 20_000):
        yield case(f"{count} variables of 4 TB", graph(variables(count)))
    for count in (1000, 1_000_000):
        yield case(f"a collection of {count} names", graph(collection(count)))
    for levels in (50, 99, 101, 1000, 100_000):
        yield case(f"{levels} messages in one another", partial(nested, levels, 2, 1, 5, 2, 10))
        yield case(f"{levels} lists of functions in one another", partial(nested, levels, 10, 2))
    yield case("names of 1 MB", graph(names("a" * (1 << 20), "b" * (1 << 20))))
    yield case("100,000 levels of scopes", graph(names("a/" * 100_000 + "b")))
    yield case("200 names of 10,000 scopes", graph(names(*("a/" * 10_000 + str(n) for n in range(200)))))
    yield case("two ops of one name", graph(names("a", "a")))
    yield case("an op without a name", graph(names("")))
    yield case("names that lead", graph(names("^a", "a:0", "../a", "a\x1b[31m", "\u202ea")))
    yield case("nothing", lambda: b"")
    yield case("other bytes", lambda: bytes(range(256)) * 1000)
    yield case("a text of 1,000,000 levels", lambda: b"node {" * 1_000_000)
    text = file("x.meta", lambda: b"".join(b'node { name: "n%d" op: "NoOp" }\n' % n for n in range(50_000)))
    for way in ("load", "open", "layers", "ops", "collections", "scan"):  # the bounds hold for one command
        yield Case(f"graph: a text of 50,000 ops, {way}", text, looking(way))
    yield case("a claim of 2 GiB", lambda: b"\x12\xff\xff\xff\xff\x07x")
    for count in (1, 1000, 50_000):
        yield saved_model(f"{count} graphs of one tag", graphs(count))
        yield saved_model(f"{count} graphs of own tags", graphs(count, "{}"))
    yield saved_model("no graph", lambda model: None)
