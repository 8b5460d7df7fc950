"""The size of the package and the paths of calls through it: `python benchmarks/house.py [CHECKOUT]`.

Counts what a newcomer meets: files, lines, functions, modules that only one other imports, and, for four commands run
in this process on the fixtures, the number of files a call goes through and of its steps from one file to another.
"""

import ast
import contextlib
import inspect
import io
import os
import sys
import tempfile
import tokenize
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import Any

ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1]).resolve()
PACKAGE = ROOT / "ckpttool"
MESSAGES = {"GraphDef", "MetaGraphDef"}
COPIES = {"CopyFrom", "MergeFrom", "FromString", "ParseFromString"}
EPOCHS = 3


def sources() -> list[Path]:
    """Return the package's own files, without generated code."""
    return sorted(path for path in PACKAGE.rglob("*.py") if not path.name.endswith("_pb2.py"))


def code_lines(text: str) -> int:
    """Return the number of lines of code: without blank lines, comments or docstrings."""
    skipped = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in skipped:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines -= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(lines)


def module_of(path: Path) -> str:
    """Return the dotted name of a file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(modules: set[str], trees: dict[str, ast.Module], everywhere: bool) -> dict[str, set[str]]:
    """Return the imports of each module from the package, `everywhere` or only at import time."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, tree in trees.items():
        for node in ast.walk(tree) if everywhere else tree.body:
            targets: list[str] = []
            if isinstance(node, ast.Import):
                targets = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                targets = [f"{node.module}.{a.name}" for a in node.names] + [node.module]
                targets = targets[:-1] if all(target in modules for target in targets[:-1]) else targets
            found[name] |= {target for target in targets if target in modules and target != name}
    return found


def circles(graph: dict[str, set[str]]) -> int:
    """Return the number of import cycles (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    count = 0

    def visit(name: str) -> None:
        nonlocal count
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in graph.get(name, ()):
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            component = stack[stack.index(name) :]
            del stack[stack.index(name) :]
            count += len(component) > 1

    for name in list(graph):
        if name not in index:
            visit(name)
    return count


def size() -> Iterator[tuple[str, str]]:
    """Yield the figures of the text."""
    texts = {module_of(path): path.read_text() for path in sources()}
    trees = {name: ast.parse(text) for name, text in texts.items()}
    yield "files", str(len(texts))
    lines = sum(len(text.splitlines()) for text in texts.values())
    yield "lines, of them code", f"{lines}, {sum(map(code_lines, texts.values()))}"
    importers: Counter[str] = Counter()
    for targets in imports(set(texts), trees, everywhere=True).values():
        importers.update(targets)
    single = [name for name in texts if importers[name] == 1]
    yield (
        "modules with one importer, their lines",
        f"{len(single)}, {sum(len(texts[n].splitlines()) for n in single)}",
    )
    functions = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    lengths = [(node.end_lineno or node.lineno) - node.lineno + 1 for node in functions]
    yield (
        "functions, lines of one: median, p90",
        f"{len(lengths)}, {median(lengths):g}, {quantiles(lengths, n=10)[8]:g}",
    )
    private = used_once = 0
    for tree in trees.values():
        names = [n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name[:1] == "_" != n.name[1:2]]
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)]
        uses = Counter(node.id if isinstance(node, ast.Name) else node.attr for node in nodes)
        private += len(names)
        used_once += sum(uses[name] <= 1 for name in names)
    yield "private functions, of them used once", f"{private}, {used_once}"
    yield "circles of imports", str(circles(imports(set(texts), trees, everywhere=False)))


def has_ops(owner: Any) -> bool:
    """Return whether a message, or its type if it was just parsed, is a graph with its ops."""
    kind = owner if isinstance(owner, type) else type(owner)
    if kind.__name__ not in MESSAGES:
        return False
    return owner is kind or len((owner.graph_def if kind.__name__ == "MetaGraphDef" else owner).node) > 0


class Walk:
    """The path of a call: its files, the number of steps between files, and of whole graphs copied."""

    def __init__(self) -> None:
        """Start empty."""
        self.files: set[str] = set()
        self.changes = self.copies = self.graphs = 0
        self._last = ""

    def __call__(self, frame: Any, event: str, argument: Any) -> None:
        """Count an event of the interpreter's profiler."""
        if event == "c_return" and argument.__name__ in COPIES:
            self.copies += has_ops(argument.__self__)
            return
        code = frame.f_code
        is_function = code.co_flags & inspect.CO_OPTIMIZED and not code.co_name.startswith("<")  # no class body
        if event != "call" or not is_function or not code.co_filename.startswith(str(PACKAGE)):
            return
        self.files.add(code.co_filename)
        self.changes += code.co_filename != self._last
        self._last = code.co_filename
        self.graphs += code.co_qualname == "Graph.__init__"
        self.copies += code.co_qualname == "Graph.meta" and not frame.f_locals["self"]._is_whole  # put together


def walk(arguments: list[str]) -> Walk:
    """Run a command in this process and return its path."""
    from ckpttool.cli import main

    walked = Walk()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()) as said:
        sys.setprofile(walked)
        try:
            main(arguments, standalone_mode=False)
        except SystemExit as end:
            if end.code:
                raise RuntimeError(f"{' '.join(arguments)}: {said.getvalue()}") from end
        finally:
            sys.setprofile(None)
    return walked


def walks(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the figures of the four commands."""
    import numpy as np

    fixtures = ROOT / "fixtures"
    model, data = str(fixtures / "my_model_final.ckpt"), str(fixtures / "mnist_small.npz")
    head = "hidden4 = dense(20, relu); outputs = dense(10)"
    new, cache = str(folder / "new.ckpt"), ["--cache", "--cache-dir", str(folder / "cache")]
    import ckpttool

    names = ("hidden1/kernel", "hidden1/bias")
    weights: dict[str, Any] = {name: ckpttool.open(model)[name].read() for name in names}
    np.savez(folder / "w.npz", **weights)
    train = ["finetune", new, "--data", data, "--freeze", "hidden[12]", *cache, "--epochs"]
    commands = {
        "vars": ["vars", model],
        "reuse --head": ["reuse", model, "--layers", "hidden[123]", "--head", head, "-o", new],
        "import": ["import", str(folder / "w.npz"), "--into", model, "--lenient", "-o", str(folder / "imported.ckpt")],
        "finetune --cache": [*train, str(EPOCHS), "-o", str(folder / "tuned.ckpt")],
    }
    for name, arguments in commands.items():
        walked = walk(arguments)
        yield f"{name}: files, changes of file", f"{len(walked.files)}, {walked.changes}"
        if name.startswith("finetune"):
            longer = walk([*train, str(2 * EPOCHS), "-o", str(folder / "longer.ckpt")])
            yield "finetune: Graphs made, whole messages copied", f"{walked.graphs}, {walked.copies}"
            yield (
                "of them per further epoch",
                f"{(longer.graphs - walked.graphs) / EPOCHS:g}, {(longer.copies - walked.copies) / EPOCHS:g}",
            )


def main() -> None:
    """Print the table."""
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    for what, figure in size():
        print(f"{what:45} {figure}")
    with tempfile.TemporaryDirectory() as folder:
        for what, figure in walks(Path(folder)):
            print(f"{what:45} {figure}")


if __name__ == "__main__":
    main()
