"""The exception hierarchy: every error that a user can cause or encounter is one of these classes.

An error is raised where the facts are known, and its message states them: file, tensor, found, expected, and the
parameter that helps, by its Python name in backticks: "`overwrite` replaces it". The command line prints it once, on
one line, with the parameter spelled as its option, and exits with 2.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

TOLD: list[Callable[[str], str]] = []
"""Functions that replace paths of temporary files in messages by what they stand for, such as URLs."""


class CkptError(Exception):
    """The base class of what ckpttool refuses or cannot do; its message is one line for the user."""

    def __str__(self) -> str:
        """Return the message, without paths of temporary files."""
        text = str(self.args[0]) if len(self.args) == 1 else super().__str__()
        for told in TOLD:
            text = told(text)
        return text

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what `pickle` needs to rebuild it, with all attributes, in another process."""
        arguments = (str(self),) if len(self.args) == 1 else self.args
        return _sent, (type(self), arguments), self.__dict__


class FormatError(CkptError, ValueError):
    """A file is not in the expected format, or uses a feature that ckpttool does not read."""


class CorruptCheckpoint(FormatError):
    """A file is damaged: truncated, or a checksum or a rule of its format is violated."""


class MissingFile(CkptError, FileNotFoundError):
    """A file, or one of a checkpoint's files, does not exist."""


class ExistingOutput(CkptError, FileExistsError):
    """An output exists already and `overwrite` was not given."""


class UnknownName(CkptError, KeyError):
    """No tensor, op or layer has this name or matches this pattern; the message suggests the nearest names."""


class PlanError(CkptError, ValueError):
    """A request is inconsistent: shapes, dtypes or coverage do not fit, or two tensors would get the same name."""


class GraphError(CkptError, ValueError):
    """A graph lacks what a command needs, or has more than one candidate for it."""


class DataError(CkptError, ValueError):
    """A data set cannot be used: missing arrays, wrong shapes, NaN, labels out of range."""


class WrongKind(CkptError, TypeError):
    """An argument has an unsupported type; the message names the supported ones."""


class MissingDependency(CkptError, ImportError):
    """An optional package that this operation needs is not installed."""


class Interrupted(CkptError):
    """A signal ended a run, which has saved its state; `number` is the signal number."""

    def __init__(self, message: str, number: int) -> None:
        """Store the message for the user and the signal number."""
        super().__init__(message)
        self.number = number


@contextlib.contextmanager
def telling(*names: tuple[object, str]) -> Iterator[None]:
    """Replace each first text (a temporary path) in messages of errors that leave the block by the second.

    >>> with contextlib.suppress(CkptError), telling(("/tmp/x/", "https://host/x.zip#")):
    ...     raise CkptError("/tmp/x/model.h5 is damaged")
    """
    try:
        yield
    except CkptError as error:
        for here, there in names:
            error.args = tuple(each.replace(str(here), there) if isinstance(each, str) else each for each in error.args)
        raise


def _sent(kind: type[CkptError], arguments: tuple[Any, ...]) -> CkptError:
    """Rebuild an error in another process without calling its constructor, whose arguments may differ."""
    return kind.__new__(kind, *arguments)
