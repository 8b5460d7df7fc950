"""New names for tensors, by regular expressions for whole components."""

import re
from collections.abc import Mapping

from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.core.names import separator, suggestion


def renamed(names: list[str], rules: Mapping[str, str]) -> dict[str, str]:
    r"""Return the old name of each new one; a name takes the first rule that matches it, and keeps what follows.

    >>> renamed(["bert/encoder/w", "bert/pooler/w"], {"bert/encoder": "encoder"})
    {'encoder/w': 'bert/encoder/w', 'bert/pooler/w': 'bert/pooler/w'}
    >>> renamed(["features.0.weight"], {"features": "net"})
    {'net.0.weight': 'features.0.weight'}

    Raises:
        UnknownName: a rule matches nothing.
        PlanError: two names would become one.
        CkptError: a pattern or a replacement is not a regular expression's.
    """
    between = separator(names)
    compiled = [(_compiled(pattern, between), pattern, replacement) for pattern, replacement in rules.items()]
    unused = set(rules)
    out: dict[str, str] = {}
    for name in names:
        new = name
        for expression, pattern, replacement in compiled:
            match = expression.match(name)
            if match:
                unused.discard(pattern)
                new = _expanded(match, replacement) + name[match.end() :]
                break
        if new in out:
            raise PlanError(f"{out[new]} and {name} would both be named {new}")
        out[new] = name
    for pattern in sorted(unused):
        raise UnknownName(f"rename: {pattern!r} matches nothing{suggestion(pattern, names)}")
    return out


def _compiled(pattern: str, between: str) -> re.Pattern[str]:
    """Compile a pattern so that it matches whole components from the root."""
    try:
        return re.compile(rf"(?:{pattern})(?={re.escape(between)}|\Z)", re.DOTALL)
    except re.error as error:
        raise CkptError(f"{pattern!r} is not a regular expression: {error}") from error


def _expanded(match: re.Match[str], replacement: str) -> str:
    try:
        return match.expand(replacement)
    except (re.error, IndexError) as error:
        raise CkptError(f"{replacement!r} is not a replacement for {match.re.pattern!r}: {error}") from error
