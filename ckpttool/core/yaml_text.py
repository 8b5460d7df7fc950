"""The part of YAML that people write at the head of a card: blocks of keys and lists, texts, numbers.

No anchors, tags or several documents: nothing here can build an object or grow. Where versions of YAML differ, `no` and
`on` are texts, as YAML 1.2 and the Hub have it: `language: no` is Norwegian. Dates are texts.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

LARGEST = 1 << 17
"""Characters of a text that is read."""
MOST_LINES = 500
"""Lines over which a text goes that is no block."""
DEEPEST = 20
"""How many lists and keys may be in one another."""
_NUMBER = re.compile(r"[-+]?(?:\d{1,18}|(?:\d{1,18}\.\d{0,40}|\.\d{1,40})(?:[eE][-+]?\d{1,3})?)", re.ASCII)
_WORDS = {"": None, "~": None, "null": None, "Null": None, "NULL": None} | dict.fromkeys(("true", "True", "TRUE"), True)
_WORDS |= dict.fromkeys(("false", "False", "FALSE"), False)
_KEY = re.compile(r"""(?P<key>"(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[^\s"'\[\]{}&*!|>%@`#,?:-][^:#]*?):(?:\s+|$)""")
_PLAIN = re.compile(r"[A-Za-z_](?:[\w./+ -]*[\w./+-])?", re.ASCII)
_AMBIGUOUS = re.compile(r"y|n|yes|no|on|off|true|false|null", re.IGNORECASE)
_BLOCK = re.compile(r"(?P<style>[|>])(?P<end>[-+]?)")
_ESCAPES = {"0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "e": "\x1b"}
_ESCAPES |= {" ": " ", '"': '"', "/": "/", "\\": "\\", "N": "\x85", "_": "\xa0", "L": "\u2028", "P": "\u2029"}
_ESCAPED = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|(.))", re.DOTALL)
_QUOTED = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'""", re.DOTALL)
_COMMENT = re.compile(r"(?:^|\s)#.*")
_REFUSED = "&*!|>%@`"


def loads(text: str) -> Any:
    r"""Return what a text holds.

    >>> loads("license: mit\ntags: [a, 'b c']\nmodel-index:\n- name: digits\n  results:\n  - value: 0.97\n")
    {'license': 'mit', 'tags': ['a', 'b c'], 'model-index': [{'name': 'digits', 'results': [{'value': 0.97}]}]}

    Raises:
        ValueError: it is none, or more than this part of YAML; the message says where.
    """
    if len(text) > LARGEST:
        raise ValueError(f"it has {len(text)} characters, at most {LARGEST} are read")
    reader = _Reader(text)
    if reader.line is None:
        return {}
    value = reader.block(reader.line.indent, 0)
    if reader.line is not None:
        raise reader.wrong("it belongs to nothing above it")
    return value


def dumps(value: Mapping[str, Any]) -> str:
    """Return a text that `loads` and any reader of YAML takes for the same.

    >>> print(dumps({"license": "mit", "tags": ["a: b"], "model-index": [{"name": "no", "results": []}]}), end="")
    license: mit
    tags:
    - "a: b"
    model-index:
    - name: "no"
      results: []
    """
    return "".join(f"{line}\n" for line in _lines(value))


def _lines(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, each in value.items():
            if isinstance(each, list | tuple | Mapping) and each:
                step = "  " * isinstance(each, Mapping)
                yield f"{_scalar(str(key))}:"
                yield from (f"{step}{line}" for line in _lines(each))
            else:
                yield f"{_scalar(str(key))}: {_scalar(each)}"
    elif isinstance(value, list | tuple) and value:
        for each in value:
            for number, line in enumerate(_lines(each)):
                yield f"{'  ' if number else '- '}{line}"
    else:
        yield _scalar(value)


def _scalar(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "[]"
    if isinstance(value, Mapping):
        return "{}"
    if not isinstance(value, str):
        return re.sub(r"(?<!\.)\b(\d+)e", r"\1.0e", json.dumps(value))  # 1e-07 is a text to many readers
    if _PLAIN.fullmatch(value) and not _AMBIGUOUS.fullmatch(value):
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(each if each.isprintable() else _escape(each) for each in quoted)


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


@dataclass(frozen=True)
class _Line:
    """A line that is not blank: its number, how far it is indented, and the rest; `raw` is the line as it stands."""

    number: int
    indent: int
    text: str


class _Reader:
    """Reads blocks from lines; `line` is the next one."""

    def __init__(self, text: str) -> None:
        self._raw = text.replace("\r\n", "\n").split("\n")
        self._at = -1
        self.line: _Line | None = None
        self._next()

    def wrong(self, problem: str) -> ValueError:
        return ValueError(f"line {self.line.number if self.line else self._at}: {problem}")

    def block(self, indent: int, depth: int) -> Any:
        """Read the list, the keys or the text that begin at the line, which is indented so far."""
        if depth > DEEPEST:
            raise self.wrong(f"more than {DEEPEST} lists and keys are in one another")
        assert self.line
        if _is_item(self.line.text):
            return self._list(indent, depth)
        if _KEY.match(self.line.text):
            return self._keys(indent, depth)
        text = self.line.text
        self._next()
        return self._value(text, indent - 1, depth)

    def _list(self, indent: int, depth: int) -> list[Any]:
        found = []
        while self.line and self.line.indent == indent and _is_item(self.line.text):
            rest = self.line.text[1:]
            inner = rest.lstrip(" ")
            column = indent + 1 + len(rest) - len(inner)
            if _is_item(inner) or _KEY.match(inner):
                self.line = _Line(self.line.number, column, inner)
                found.append(self.block(column, depth + 1))
            else:
                self._next()
                found.append(self._value(inner, indent, depth + 1))
        self._require_end(indent + 1)
        return found

    def _keys(self, indent: int, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.line and self.line.indent == indent and (match := _KEY.match(self.line.text)):
            key = _text(match["key"].strip())
            if key in found:
                raise self.wrong(f"{key} is there twice")
            rest = self.line.text[match.end() :]
            self._next()
            is_list = not rest and self.line and self.line.indent == indent and _is_item(self.line.text)
            found[key] = self.block(indent, depth + 1) if is_list else self._value(rest, indent, depth + 1)
        self._require_end(indent)
        return found

    def _require_end(self, indent: int) -> None:
        if self.line and self.line.indent >= indent and not _is_item(self.line.text):
            problem = "neither `key: value` nor `- item`, or not indented as what it belongs to"
            raise self.wrong(f"{problem}: {_cut(self.line.text)}")

    def _value(self, text: str, indent: int, depth: int) -> Any:
        """Read what stands behind a key or a dash, or below it, deeper than it is indented."""
        if not text:
            return self.block(self.line.indent, depth) if self.line and self.line.indent > indent else None
        if match := _BLOCK.fullmatch(text):
            return self._verbatim(match["style"], match["end"], indent)
        if text[0] in _REFUSED:
            raise ValueError(f"line {self._before()}: {_cut(text)}: anchors, tags and directives are not read here")
        for _ in range(MOST_LINES):
            if not (self.line and self.line.indent > indent and (_is_open(text) or text[0] not in "\"'[{")):
                break
            text = f"{text} {self.line.text}"
            self._next()
        try:
            return _flow(text) if text[0] in "[{" else _text(text)
        except ValueError as error:
            raise ValueError(f"line {self._before()}: {error}") from error

    def _before(self) -> int:
        return self.line.number - 1 if self.line else len(self._raw)

    def _verbatim(self, style: str, end: str, indent: int) -> str:
        """Read a text whose lines stand as they are, `|`, or are joined, `>`."""
        start = self._at if self.line else len(self._raw)
        while start and not self._raw[start - 1].strip():
            start -= 1
        stop = start
        while stop < len(self._raw) and (not self._raw[stop].strip() or _indent(self._raw[stop]) > indent):
            stop += 1
        lines = self._raw[start:stop]
        own = min((_indent(line) for line in lines if line.strip()), default=0)
        self._at = stop - 1
        self._next()
        text = "\n".join(line[own:] for line in lines)
        body, tail = text.rstrip("\n "), "\n" * (1 if end == "" else 0)
        body = re.sub(r"(?<!\n)\n(?![\n ])", " ", body) if style == ">" else body
        body = re.sub(r"\n\n", "\n", body) if style == ">" else body
        kept = "\n" * (len(text) - len(text.rstrip("\n")) + 1) if end == "+" else tail
        return body + kept if body else ""

    def _next(self) -> None:
        self._at += 1
        while self._at < len(self._raw):
            raw = self._raw[self._at]
            text = _uncommented(raw.strip(" "))
            if "\t" in raw[: len(raw) - len(raw.lstrip())]:
                raise ValueError(f"line {self._at + 1}: it is indented by tabs")
            if text in ("---", "...") and not _indent(raw):
                raise ValueError(f"line {self._at + 1}: a second document begins")
            if text:
                self.line = _Line(self._at + 1, _indent(raw), text)
                return
            self._at += 1
        self.line = None


def _is_item(text: str) -> bool:
    return text == "-" or text.startswith("- ")


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _cut(text: str) -> str:
    return repr(text if len(text) < 60 else f"{text[:60]}...")


def _uncommented(text: str) -> str:
    """Return a line without the comment at its end; a # inside of a word or of quotes begins none."""
    if "#" not in text:
        return text.rstrip()
    match = _COMMENT.search(_QUOTED.sub(lambda each: "x" * len(each[0]), text))
    return (text[: match.start()] if match else text).rstrip()


def _is_open(text: str) -> bool:
    """Say whether a quoted text, a list or a map has not ended yet."""
    if text[0] in "\"'":
        return _QUOTED.match(text) is None
    bare = _QUOTED.sub("", text)
    return text[0] in "[{" and bare.count("[") + bare.count("{") > bare.count("]") + bare.count("}")


def _text(text: str) -> Any:
    """Return the value of a text on its own: in quotes it is one, else it may be a number or a word with a meaning."""
    if text[:1] not in ('"', "'"):
        if ": " in text or text.endswith(":") or text.startswith("? "):
            raise ValueError(f"{_cut(text)}: a text with a colon is put in quotes")
        if _NUMBER.fullmatch(text):
            return int(text) if re.fullmatch(r"[-+]?\d+", text) else float(text)
        return _WORDS.get(text, text)
    if not (match := _QUOTED.fullmatch(text)):
        raise ValueError(f"{_cut(text)}: the quotes do not end where the text does")
    inner = match[0][1:-1]
    return inner.replace("''", "'") if text[0] == "'" else _ESCAPED.sub(_unescaped, inner)


def _unescaped(match: re.Match[str]) -> str:
    code = next((each for each in match.groups()[:3] if each), None)
    if code is None:
        if match[4] not in _ESCAPES:
            raise ValueError(f"{match[0]!r} is no escape")
        return _ESCAPES[match[4]]
    number = int(code, 16)
    if number > 0x10FFFF or 0xD800 <= number < 0xE000:
        raise ValueError(f"{match[0]!r} is no character")
    return chr(number)


_TOKEN = re.compile(
    r"""\s*("(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|[\[\]{},]|:(?=\s|$)|(?:[^\[\]{},:"'\s]|:(?=\S))(?:[^\[\]{},:]|:(?=\S))*)"""
)


def _flow(text: str) -> Any:
    """Return the list `[a, b]` or the keys `{a: b}` that a text is."""
    text, tokens, at = text.rstrip(), list[str](), 0
    while at < len(text):
        if not (match := _TOKEN.match(text, at)):
            raise ValueError(f"{_cut(text[at:])} is not read here")
        tokens.append(match[1].strip())
        at = match.end()
    tokens.reverse()
    value = _flow_value(tokens, 0)
    if tokens:
        raise ValueError(f"{_cut(tokens[-1])} stands behind the end of a list")
    return value


def _flow_value(tokens: list[str], depth: int) -> Any:
    if depth > DEEPEST or not tokens:
        raise ValueError("a list has no end" if not tokens else f"more than {DEEPEST} lists are in one another")
    token = tokens.pop()
    if token == "[":
        items = []
        while tokens and tokens[-1] != "]":
            items.append(_flow_value(tokens, depth + 1))
            _flow_end(tokens, "]")
        _flow_pop(tokens)
        return items
    if token == "{":
        keys: dict[str, Any] = {}
        while tokens and tokens[-1] != "}":
            key = str(_text(tokens.pop()))
            has_value = bool(tokens) and tokens[-1] == ":"
            if has_value:
                tokens.pop()
            keys[key] = _flow_value(tokens, depth + 1) if has_value and tokens and tokens[-1] not in ",}" else None
            _flow_end(tokens, "}")
        _flow_pop(tokens)
        return keys
    if token in "]},:" or token[0] in _REFUSED:
        raise ValueError(f"{_cut(token)} is not expected there")
    return _text(token)


def _flow_end(tokens: list[str], end: str) -> None:
    if tokens and tokens[-1] == ",":
        tokens.pop()
    elif not tokens or tokens[-1] != end:
        raise ValueError("a list has no end" if not tokens else f"{_cut(tokens[-1])}: a comma is missing before it")


def _flow_pop(tokens: list[str]) -> None:
    if not tokens:
        raise ValueError("a list has no end")
    tokens.pop()
