"""YAML at the head of a model card, parsed by PyYAML: tags and references are refused, and sizes are checked first.

Where the versions of YAML differ, `no` and `on` are strings, as in YAML 1.2 and on the Hub: `language: no` is
Norwegian. Dates are strings, and so are numbers with colons or in other bases.
"""

import re
from collections.abc import Mapping
from typing import Any

import yaml

LARGEST = 1 << 17
"""Maximum length of a text in characters."""
DEEPEST = 20
"""Maximum nesting depth of lists and mappings."""
_NUMBER = re.compile(r"[-+]?(?:\d{1,18}|(?:\d{1,18}\.\d{0,40}|\.\d{1,40})(?:[eE][-+]?\d{1,3})?)", re.ASCII)
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | dict.fromkeys(("true", "True", "TRUE"), True)
_WORDS |= dict.fromkeys(("false", "False", "FALSE"), False)
_PLAIN = re.compile(r"[A-Za-z_](?:[\w./+ -]*[\w./+-])?", re.ASCII)
_AMBIGUOUS = re.compile(r"y|n|yes|no|on|off|true|false|null", re.IGNORECASE)
_TEXT = "tag:yaml.org,2002:str"


def loads(text: str) -> Any:
    r"""Parse a YAML text.

    >>> loads("license: mit\ntags: [a, 'b c']\nmodel-index:\n- name: digits\n  results:\n  - value: 0.97\n")
    {'license': 'mit', 'tags': ['a', 'b c'], 'model-index': [{'name': 'digits', 'results': [{'value': 0.97}]}]}

    Raises:
        ValueError: it is invalid, or uses more than is read here; the message has the position.
    """
    if len(text) > LARGEST:
        raise ValueError(f"it has {len(text)} characters, at most {LARGEST} are read")
    try:
        node = yaml.compose(text, _Loader)
        return {} if node is None else _value(node)
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{line}{error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def dumps(value: Mapping[str, Any]) -> str:
    """Return a YAML text that `loads` and every other YAML parser read as this value.

    >>> print(dumps({"license": "mit", "tags": ["a: b"], "model-index": [{"name": "no", "results": []}]}), end="")
    license: mit
    tags:
    - "a: b"
    model-index:
    - name: "no"
      results: []
    """
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=LARGEST)


class _Loader(yaml.SafeLoader):
    """A loader that refuses everything but mappings, lists and scalars before it is composed."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose a node and its children."""
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None or getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(
                problem="anchors, tags and aliases are not supported", problem_mark=event.start_mark
            )
        self._depth += 1
        if self._depth > DEEPEST:
            why = f"lists and keys are nested over {DEEPEST} levels deep"
            raise yaml.MarkedYAMLError(problem=why, problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _value(node: Any) -> Any:
    """Return the value of a node; keys are strings."""
    if isinstance(node, yaml.SequenceNode):
        return [_value(each) for each in node.value]
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=key.start_mark)
            if _text(key) in found:
                raise yaml.MarkedYAMLError(problem=f"{key.value} appears twice", problem_mark=key.start_mark)
            found[key.value] = _value(value)
        return found
    text = _text(node)
    if node.style is not None:  # quoted, or a block
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _NUMBER.fullmatch(text):
        return int(text) if text.lstrip("+-").isdigit() else float(text)
    return text


def _text(node: yaml.Node) -> str:
    """Return the text of a node; an escape may be half of a surrogate pair, which is refused."""
    text: str = node.value
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise yaml.MarkedYAMLError(problem="an escape is not a valid character", problem_mark=node.start_mark)
    return text


class _Dumper(yaml.SafeDumper):
    """A dumper that writes no references, and quotes strings that a parser could read as another type."""

    def ignore_aliases(self, data: Any) -> bool:
        """Return True: nothing is written by reference."""
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    is_plain = _PLAIN.fullmatch(text) and not _AMBIGUOUS.fullmatch(text)
    return dumper.represent_scalar(_TEXT, text, style=None if is_plain else '"')


_Dumper.add_representer(str, _represent_text)
