"""Names of entries: `digits`, its revision `digits@3`, and the revision with a tag, `digits:best`."""

import re
from dataclasses import dataclass
from pathlib import Path

from ckpttool.core.errors import CkptError

SCHEME = "zoo:"
"""The prefix of an entry where a path is expected."""
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_SELECTOR = re.compile(
    rf"(?P<name>{_NAME.pattern})(?:@(?P<revision>[1-9]\d{{0,8}})|:(?P<tag>{_NAME.pattern}))?", re.ASCII
)
_RULE = "letters, digits, '.', '_' and '-', up to 100 of them, and neither '.' nor '-' at the beginning"


@dataclass(frozen=True)
class Selector:
    """The selection of an entry's revision: by number or tag, or the latest if both are None."""

    name: str
    revision: int | None = None
    tag: str | None = None

    def __str__(self) -> str:
        if self.tag is not None:
            return f"{self.name}:{self.tag}"
        return self.name if self.revision is None else f"{self.name}@{self.revision}"


def is_entry(path: Path | str) -> bool:
    """Return whether a path names an entry of the catalogue.

    >>> is_entry("zoo:digits@2"), is_entry(Path("zoo:digits")), is_entry("zoo/digits")
    (True, True, False)
    """
    return str(path).startswith(SCHEME)


def is_name(text: str) -> bool:
    """Return whether a string is a valid name of an entry or tag.

    >>> is_name("resnet-50.v2"), is_name(".."), is_name("a/b"), is_name("a" * 101)
    (True, False, False, False)
    """
    return _NAME.fullmatch(text) is not None


def require_name(text: str, what: str = "name") -> str:
    """Return a valid name or tag unchanged.

    Raises:
        CkptError: it is invalid.
    """
    if not is_name(text):
        raise CkptError(f"{text!r} cannot be the {what} of an entry: it has {_RULE}")
    return text


def selector(text: Path | str) -> Selector:
    """Parse a selector, with or without the prefix `zoo:`.

    >>> selector("zoo:digits@2"), str(selector("digits:best"))
    (Selector(name='digits', revision=2, tag=None), 'digits:best')

    Raises:
        CkptError: it has another form.
    """
    match = _SELECTOR.fullmatch(str(text).removeprefix(SCHEME))
    if match is None:
        raise CkptError(f"{str(text)!r} names no entry: NAME, NAME@REVISION or NAME:TAG, a name of {_RULE}")
    return Selector(match["name"], int(match["revision"]) if match["revision"] else None, match["tag"])
