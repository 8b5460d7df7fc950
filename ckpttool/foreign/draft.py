"""A draft of rules as a file to read and edit: TOML with what tells each rule, and what is open, in comments."""

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from ckpttool.core.errors import CkptError
from ckpttool.foreign.suggest import WHY, Draft
from ckpttool.formats.writing.files import replacing

ABOUT = (
    "A draft: read it, edit it, and give it to `ckpttool import --rules`, with `--check` of a sample if there is one."
)


def write_draft(draft: Draft, path: Path) -> None:
    """Write a draft as a file of rules, whole or not at all.

    Raises:
        CkptError: the name does not say that it is TOML.
    """
    if path.suffix != ".toml":
        raise CkptError(f"{path}: a draft of rules is TOML, expected a name that ends in .toml")
    with replacing(path) as file:
        file.write(as_toml(draft).encode())


def as_toml(draft: Draft) -> str:
    r"""Return the rules of a draft, each with how sure it is.

    >>> from ckpttool.foreign.layouts import parse_layout
    >>> from ckpttool.foreign.suggest import Suggestion
    >>> pair = Suggestion(("fc.weight",), ("fc/kernel",), parse_layout("dense"), 0.9)
    >>> print(as_toml(Draft((pair,), (), ())).split("\n\n")[1].strip())
    [[rule]]  # 0.9: the names end alike
    from = 'fc\.weight'
    to = 'fc/kernel'
    transform = 'dense'
    """
    return "\n\n".join(_blocks(draft)) + "\n"


def _blocks(draft: Draft) -> Iterator[str]:
    yield "\n".join([f"# {ABOUT}", *(f"# open: {_one_line(problem)}" for problem in draft.open)])
    for pair in draft.pairs:
        yield (
            f"[[rule]]  # {pair.confidence}: {WHY[pair.confidence]}\n"
            f"from = {_listed([re.escape(name) for name in pair.sources])}\n"
            f"to = {_listed([name.replace(chr(92), chr(92) * 2) for name in pair.targets])}\n"
            f"transform = {_quoted(str(pair.layout))}{chr(10) + 'copy = true' if pair.copy else ''}"
        )
    for name in draft.dropped:
        yield f"[[rule]]  # not a weight\nfrom = {_quoted(re.escape(name))}\ndrop = true"


def _listed(texts: Sequence[str]) -> str:
    """Return one text, or a list of several."""
    return _quoted(texts[0]) if len(texts) == 1 else f"[{', '.join(map(_quoted, texts))}]"


def _quoted(text: str) -> str:
    """Return a text of TOML: as it is between single quotes, or with its quotes and control characters escaped."""
    return f"'{text}'" if text.isprintable() and "'" not in text else json.dumps(text)


def _one_line(text: str) -> str:
    return text if text.isprintable() else json.dumps(text)
