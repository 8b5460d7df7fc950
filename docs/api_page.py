"""The page of the Python interface, api.md: every public name with its signature and docstring."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from dataclasses import is_dataclass
from typing import Any

import ckpttool

HEADER = """# API

<!-- Written by `make docs` from docstrings: change those, not this page. -->

Every public name of the package `ckpttool`: functions, classes and errors. [From Python](python.md) shows how to use
them together. Importing `ckpttool` is fast: each name is loaded when it is first used.
"""
SECTION = re.compile(r"^(Args|Returns|Yields|Raises|Attributes):$", re.MULTILINE)
LONGEST = 100
ENTRY = re.compile(r"^(\*{0,2}[\w.]+(?:, [\w.]+)*)(?: \(.*?\))?: ")


def page() -> str:
    """Return the page: functions, classes, errors."""
    names = {name: getattr(ckpttool, name) for name in ckpttool.__all__}
    errors = {name for name, each in names.items() if inspect.isclass(each) and issubclass(each, Exception)}
    classes = {name for name, each in names.items() if inspect.isclass(each)} - errors
    groups = {"Functions": names.keys() - errors - classes, "Classes": classes, "Errors": errors}
    parts = [
        "\n\n".join([f"## {heading}", *(_entry(name, names[name]) for name in sorted(chosen))])
        for heading, chosen in groups.items()
    ]
    return "\n".join([HEADER, "\n\n".join(parts), ""])


def _entry(name: str, thing: Any) -> str:
    """Return the section of a name."""
    parts = [f"### {name}", _signature(name, thing), *_text(thing)]
    if inspect.isclass(thing) and not issubclass(thing, Exception):
        for each, member in _members(thing):
            parts += [f"#### {name}.{each}", *([] if _is_value(member) else [_signature(each, member)]), *_text(member)]
    return "\n\n".join(part for part in parts if part)


def _members(thing: type) -> Iterator[tuple[str, Any]]:
    """Yield the public methods and properties that a class documents, with those of its base classes."""
    ours = [each for each in reversed(thing.__mro__) if each.__module__.startswith("ckpttool.checkpoint.")] or [thing]
    for name, member in {name: member for each in ours for name, member in vars(each).items()}.items():
        if not name.startswith("_") and (callable(member) or _is_value(member)):
            yield name, member.__func__ if isinstance(member, classmethod | staticmethod) else member
        elif isinstance(member, classmethod | staticmethod) and not name.startswith("_"):
            yield name, member.__func__


def _is_value(member: Any) -> bool:
    """Return whether a member is read as an attribute."""
    return isinstance(member, property) or type(member).__name__ == "cached_property"


def _signature(name: str, thing: Any) -> str:
    """Return a signature as in the source, with one argument per line if there are many."""
    if not inspect.isclass(thing):
        given, after = _arguments(thing)
    elif issubclass(thing, Exception):
        return ""
    elif is_dataclass(thing):
        given, after = [each for base in reversed(thing.__mro__) if is_dataclass(base) for each in _fields(base)], ""
    else:
        given, _ = _arguments(thing.__init__) if "__init__" in vars(thing) else ([], "")
        after = ""
    text = f"{name}({', '.join(given)}){after}"
    if len(text) > LONGEST:
        text = "\n".join([f"{name}(", *(f"    {each}," for each in given), f"){after}"])
    return f"```python\n{text}\n```"


def _arguments(function: Any) -> tuple[list[str], str]:
    """Return the arguments of a function, with their types and defaults, and its return type."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function)))).body
    if not isinstance(node, ast.FunctionDef):
        raise SystemExit(f"{function} is no function")
    named = [*node.args.posonlyargs, *node.args.args]
    defaults: list[ast.expr | None] = [None] * (len(named) - len(node.args.defaults))
    given = [_argument(each, value) for each, value in zip(named, [*defaults, *node.args.defaults], strict=True)]
    if node.args.vararg or node.args.kwonlyargs:
        given.append(f"*{_argument(node.args.vararg, None)}" if node.args.vararg else "*")
    given += [_argument(each, value) for each, value in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
    given += [f"**{_argument(node.args.kwarg, None)}"] if node.args.kwarg else []
    returned = "" if node.returns is None or ast.unparse(node.returns) == "None" else f" -> {ast.unparse(node.returns)}"
    return [each for each in given if each not in {"self", "cls"}], returned


def _argument(argument: ast.arg, value: ast.expr | None) -> str:
    """Return an argument as in the source."""
    annotated = f": {ast.unparse(argument.annotation)}" if argument.annotation else ""
    return f"{argument.arg}{annotated}{'' if value is None else f' = {ast.unparse(value)}'}"


def _fields(thing: type) -> list[str]:
    """Return the fields of a dataclass as in the source, without default factories."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    body = node.body if isinstance(node, ast.ClassDef) else []
    found = [
        each for each in body if isinstance(each, ast.AnnAssign) and "ClassVar" not in ast.unparse(each.annotation)
    ]
    texts = []
    for each in found:
        made = isinstance(each.value, ast.Call)
        value = "" if each.value is None else f" = {'...' if made else ast.unparse(each.value)}"
        texts.append(f"{ast.unparse(each.target)}: {ast.unparse(each.annotation)}{value}")
    return [each for each in texts if not each.startswith("_")]


def _text(thing: Any) -> list[str]:
    """Return a docstring as Markdown: paragraphs, lists of arguments, examples as code."""
    text = inspect.getdoc(thing) or ""
    begin, *rest = SECTION.split(text)
    parts = list(_paragraphs(begin))
    for heading, block in zip(rest[::2], rest[1::2], strict=True):
        indented = re.match(r"(?:\n[ ]+.*|\n(?=\n[ ]))*", block)
        own = indented.group() if indented else ""
        parts += [f"**{heading}**", "\n".join(_entries(inspect.cleandoc(own)))]
        parts += _paragraphs(block[len(own) :])
    return parts


def _entries(block: str) -> Iterator[str]:
    """Yield a list item for each argument or error; a text without names is one item."""
    item = ""
    for line in block.splitlines():
        found = None if line.startswith(" ") else ENTRY.match(line)
        if found:
            if item:
                yield item
            item = f"- `{found.group(1)}`: {line[found.end() :]}"
        else:
            item = f"{item} {line.strip()}" if item else f"- {line.strip()}"
    if item:
        yield item


def _paragraphs(text: str) -> Iterator[str]:
    """Yield paragraphs; examples become code."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(text)):
        if ">>>" in paragraph:
            before, _, code = paragraph.partition(">>>")
            if before.strip():
                yield before.strip()
            yield f"```pycon\n>>>{code.rstrip()}\n```"
        elif paragraph.strip():
            yield paragraph.strip()
