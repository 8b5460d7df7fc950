"""An output and its lineage: where that lies, and one commit for both."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from ckpttool.formats.writing.files import refuse_existing
from ckpttool.formats.writing.staging import staged

SUFFIX = ".lineage.json"


def path_beside(output: Path) -> Path:
    """Return where the lineage of an output lies that has no place for it.

    >>> str(path_beside(Path("models/small.ckpt")))
    'models/small.ckpt.lineage.json'
    """
    return Path(f"{str(output).removesuffix('.index')}{SUFFIX}")


class Kind(Protocol):
    """A kind of outputs: a format, a family of models, the plan of a command."""

    def check(self, output: Path, overwrite: bool, /) -> None:
        """Check that an output may be written at a path.

        Raises:
            ExistingOutput: one is there, and `overwrite` was not given.
        """

    def outputs(self, output: Path, /) -> Iterable[Path]:
        """Return the files that an output at a path has or had, its main one first."""


def staged_output(
    output: Path, kind: Kind, overwrite: bool, beside: Sequence[Path] = ()
) -> AbstractContextManager[Path]:
    """Give the place to write an output of a kind at, its lineage and what else lies `beside`: one commit for all.

    Raises:
        ExistingOutput: one of these is there, and `overwrite` was not given.
    """

    def check() -> None:
        kind.check(output, overwrite)
        refuse_existing(beside, overwrite)

    return staged(output, check, lambda: [*kind.outputs(output), *beside, path_beside(output)])
