"""Structure: imports point down, TensorFlow is only in the runtime's functions, nothing unpickles or evaluates."""

import ast
import re
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

from ckpttool.cli import BESIDE, COMMANDS
from ckpttool.cli.commands.zoo import SUBCOMMANDS
from ckpttool.core.collector import collector_paused

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ckpttool"
FLOORS = {
    "core": 0,
    "remote": 0,
    "executors": 0,
    "confinement": 0,
    "formats": 1,
    "catalogue": 2,
    "lineage": 2,
    "checkpoint": 2,
    "layouts": 2,
    "surgery": 3,
    "foreign": 3,
    "graph": 3,
    "data": 3,
    "runtime": 4,
    "scanning": 5,
    "model": 5,
    "training": 6,
    "plans": 6,
    "searching": 7,
    "reporting": 7,
    "zoo": 7,
    "verbs": 8,
    "api": 9,
    "cli": 9,
}
PUBLIC = {"__init__", "__main__"}
PROTOS = "ckpttool.formats.wire.protos"
SOURCES = sorted(path for path in PACKAGE.rglob("*.py") if not path.name.endswith("_pb2.py"))
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
YAML = {"compose", "dump", "MarkedYAMLError"}
"""The permitted parts of a module that could build any object: its nodes, and writing."""


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def nodes_of(path: Path) -> list[ast.AST]:
    """All AST nodes of a file, in any order."""
    found: list[ast.AST] = [tree_of(path)]
    for node in found:
        for name in node._fields:
            value = getattr(node, name)
            found += [value] if isinstance(value, ast.AST) else filter(is_node, value if type(value) is list else ())
    return found


def is_node(value: object) -> bool:
    return isinstance(value, ast.AST)


@pytest.fixture(autouse=True, scope="module")
def sources() -> Iterator[None]:
    """Parse all sources once, and free them at the end: a million objects slow down later tests."""
    with collector_paused():
        for path in SOURCES:
            nodes_of(path)
    yield
    tree_of.cache_clear()
    nodes_of.cache_clear()


def identity(path: Path) -> str:
    return str(path.relative_to(ROOT))


def part_of(path: Path) -> str:
    """The first component below the package: a floor's folder or file."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """Every module imported in some nodes; `from a import b` may mean the module a.b."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, "relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def floor_of_import(module: str) -> int | None:
    """The floor of an import from the package; None for others, and for those without a floor."""
    parts = module.split(".")
    return FLOORS.get(parts[1]) if parts[0] == "ckpttool" and len(parts) > 1 else None


UP = {("ckpttool/checkpoint/checkpoint.py", "ckpttool.surgery.edits.steps.Step")}
"""The one import that points up: a checkpoint's methods are the edits of surgery."""


def test_imports_point_down() -> None:
    ups = [
        (identity(path), name)
        for path in SOURCES
        if part_of(path) not in PUBLIC
        for name in imports_of(nodes_of(path))
        if (floor_of_import(name) or 0) > FLOORS[part_of(path)]
    ]
    assert set(ups) == UP


NEIGHBOURS = {"surgery", "foreign", "graph", "data"}
ALLOWED = {("foreign", "graph")}
"""Weights imported into a graph must be compared with its variables."""


def test_neighbours_do_not_import_one_another() -> None:
    for path in SOURCES:
        own = part_of(path)
        if own in NEIGHBOURS:
            parts = {name.split(".")[1] for name in imports_of(nodes_of(path)) if name.startswith("ckpttool.")}
            assert [part for part in parts & NEIGHBOURS - {own} if (own, part) not in ALLOWED] == [], path


def test_the_command_line_and_python_do_not_import_one_another() -> None:
    for path in SOURCES:
        if (own := part_of(path)) in {"api", "cli"}:
            others = {name.split(".")[1] for name in imports_of(nodes_of(path)) if name.startswith("ckpttool.")}
            assert others & {"api", "cli"} <= {own}, path


def test_every_part_has_a_floor() -> None:
    assert {part_of(path) for path in SOURCES} - PUBLIC <= set(FLOORS)


def test_wire_knows_no_format() -> None:
    for path in (PACKAGE / "formats" / "wire").rglob("*.py"):
        ups = [name for name in imports_of(nodes_of(path)) if name.startswith("ckpttool.formats.")]
        assert [name for name in ups if not name.startswith("ckpttool.formats.wire")] == [], path


def test_tensorflow_is_imported_in_functions_of_the_runtime_only() -> None:
    for path in SOURCES:
        nodes = top_level(tree_of(path)) if part_of(path) == "runtime" else nodes_of(path)
        assert [name for name in imports_of(nodes) if name.split(".")[0] in {"tensorflow", "keras"}] == [], path


def top_level(tree: ast.Module) -> Iterator[ast.AST]:
    """The statements that run when a module is imported: all but the bodies of functions."""
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        todo.extend(ast.iter_child_nodes(node))


def test_nothing_unpickles_or_evaluates() -> None:
    for path in SOURCES:
        assert {name.split(".")[0] for name in imports_of(nodes_of(path))} & FORBIDDEN_MODULES == set(), path
        assert [ast.unparse(call) for call in calls_of(nodes_of(path)) if is_dangerous(call)] == [], path
        assert "yaml" not in {node.module for node in nodes_of(path) if isinstance(node, ast.ImportFrom)}, path


def calls_of(nodes: Iterable[ast.AST]) -> Iterator[ast.Call]:
    return (node for node in nodes if isinstance(node, ast.Call))


def is_dangerous(call: ast.Call) -> bool:
    """eval and similar functions by name; NumPy's readers if they might unpickle."""
    name = ast.unparse(call.func)
    if name in FORBIDDEN_CALLS or (name.startswith("yaml.") and name.split(".")[1] not in YAML):
        return True
    allows = [keyword.value for keyword in call.keywords if keyword.arg == "allow_pickle"]
    if name in {"np.load", "numpy.load", "np.lib.format.read_array", "format.read_array"} and not allows:
        return True
    return any(not (isinstance(value, ast.Constant) and value.value is False) for value in allows)


@pytest.mark.parametrize(
    ("text", "dangerous"),
    [
        ("eval('1')", True),
        ("np.load(path)", True),
        ("np.load(path, allow_pickle=True)", True),
        ("np.load(path, allow_pickle=False)", False),
        ("re.compile('a')", False),
        ("yaml.load(text, yaml.Loader)", True),
        ("yaml.compose(text, OwnLoader)", False),
        ("np.save(path, rows)", False),
    ],
)
def test_the_gate_itself(text: str, dangerous: bool) -> None:
    assert [is_dangerous(call) for call in calls_of(ast.walk(ast.parse(text)))] == [dangerous]


def test_wire_protos_are_the_only_generated_code() -> None:
    generated = {path.parent.relative_to(ROOT).as_posix().replace("/", ".") for path in PACKAGE.rglob("*_pb2.py")}
    assert generated == {PROTOS}


OPTION = re.compile(r"(?<![\w-])--[a-z{]")
ABOUT_THE_SHELL = {"ckpttool/remote/paths.py", "ckpttool/foreign/suggest.py", "ckpttool/formats/unread.py"}
"""Files that parse command lines, or write text to be pasted into a shell."""


def naming_options(path: Path) -> list[str]:
    """The strings of a file that contain an option."""
    nodes = nodes_of(path)
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    before_values = [ast.unparse(node) for node in nodes if isinstance(node, ast.JoinedStr)]
    return [text for text in texts + before_values if OPTION.search(text)]


def test_options_are_named_by_the_command_line_alone() -> None:
    """Elsewhere a text has the parameter's name in backticks, which `ckpttool.cli.show.errors` spells as the option."""
    for path in SOURCES:
        if part_of(path) != "cli" and identity(path) not in ABOUT_THE_SHELL:
            assert naming_options(path) == [], path


VERBS = {"export": "export_weights", "import": "import_weights"}
"""The verbs whose file lists what else is copied."""
PLACES = (
    {name: place for name, (_, place) in COMMANDS.items() if name != "zoo"}
    | {f"zoo {name}": f"zoo/{place}" for name, place in SUBCOMMANDS.items()}
    | {f"{name} {each}": place for name, beside in BESIDE.items() for each, place in beside.items()}
)
"""The place of each command's function, below `cli/commands`."""


@pytest.mark.parametrize("command", PLACES)
def test_a_command_enters_by_the_verb_of_its_name_alone(command: str) -> None:
    """A command's work is in the file of its name in `verbs/`; otherwise it uses classes and constants."""
    path = PACKAGE / "cli" / "commands" / f"{PLACES[command].partition(':')[0]}.py"
    ours = {name for name in imports_of(nodes_of(path)) if name.startswith("ckpttool.")}
    verb = f"ckpttool.verbs.{VERBS.get(command, re.sub('[- ]', '_', command))}"
    assert [name for name in ours if f"{name}.".startswith(f"{verb}.")] != []
    beside = {name for name in ours if name.split(".")[1] not in {"cli", "core", "verbs"}}
    assert {name for name in beside if name.rpartition(".")[2].islower()} <= {"ckpttool.checkpoint"}
