"""The error family: every mistake that a user can make or meet is one of these.

An error is raised where the facts are known and says them: file, tensor, found, expected, and the parameter that
helps, by its Python name in backticks: "`overwrite` replaces it". The command line shows it once, in one line, with the
parameter spelled as its option, and exits with 2.
"""

from typing import Any


class CkptError(Exception):
    """Anything that ckpttool refuses or cannot do; its text is one line for the user."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Return what makes it again, whole, in another process."""
        return _sent, (type(self), self.args), self.__dict__


class FormatError(CkptError, ValueError):
    """A file is not in the format that it should be in, or uses what ckpttool does not read."""


class CorruptCheckpoint(FormatError):
    """A file is damaged: truncated, a checksum or a rule of its format does not hold."""


class MissingFile(CkptError, FileNotFoundError):
    """A file, or a part of a checkpoint, does not exist."""


class ExistingOutput(CkptError, FileExistsError):
    """An output exists already and `overwrite` was not given."""


class UnknownName(CkptError, KeyError):
    """A tensor, op, layer or pattern names nothing; the message suggests the nearest names."""

    def __str__(self) -> str:
        """Return the message as it was given (`KeyError` would quote it)."""
        return str(self.args[0])


class PlanError(CkptError, ValueError):
    """What was asked does not fit: shapes, dtypes, coverage, or two tensors that want one name."""


class GraphError(CkptError, ValueError):
    """A graph lacks what a command needs, or has it twice."""


class DataError(CkptError, ValueError):
    """A data set cannot be used: missing arrays, wrong shapes, NaN, labels out of range."""


class WrongKind(CkptError, TypeError):
    """An argument of a function is of a type that does not go; the message names those that do."""


class MissingDependency(CkptError, ImportError):
    """A package that only some commands need is not installed."""


class Interrupted(CkptError):
    """A signal has ended a run, which has saved where it was; `number` is the signal's."""

    def __init__(self, message: str, number: int) -> None:
        """Take the line for the user and the signal."""
        super().__init__(message)
        self.number = number


def _sent(kind: type[CkptError], arguments: tuple[Any, ...]) -> CkptError:
    """Make an error again in another process, without its constructor, which may take other arguments."""
    return kind.__new__(kind, *arguments)
