"""An output and its lineage: where the lineage is, in metadata or beside the output, and one commit for both."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from ckpttool.formats.writing.files import refuse_existing
from ckpttool.formats.writing.staging import staged

KEY = "ckpttool.lineage"
"""The key of the lineage in the metadata of a format."""
SUFFIX = ".lineage.json"


def path_beside(output: Path) -> Path:
    """Return the path of an output's lineage, for formats that cannot contain it.

    >>> str(path_beside(Path("models/small.ckpt")))
    'models/small.ckpt.lineage.json'
    """
    return Path(f"{str(output).removesuffix('.index')}{SUFFIX}")


class Kind(Protocol):
    """A kind of output: a format, a family of models, or the plan of a command."""

    def check(self, output: Path, overwrite: bool, /) -> None:
        """Check that an output may be written at a path.

        Raises:
            ExistingOutput: the output exists and `overwrite` is not set.
        """

    def outputs(self, output: Path, /) -> Iterable[Path]:
        """Return the files of an output at a path, including those of an older one, with the main file first."""


def staged_output(
    output: Path,
    kind: Kind,
    overwrite: bool,
    beside: Sequence[Path] = (),
    replaced: Sequence[Path] = (),
    done: Sequence[Path] = (),
) -> AbstractContextManager[Path]:
    """Yield the staging path for an output, its lineage and the files `beside`, which are committed together.

    `replaced` are files that the command itself may have written before, such as a history of epochs; `done` are
    folders with partial results, which the commit removes.

    Raises:
        ExistingOutput: one of the others exists and `overwrite` is not set.
    """

    def check() -> None:
        kind.check(output, overwrite)
        refuse_existing(beside, overwrite)

    return staged(output, check, lambda: [*kind.outputs(output), *beside, *replaced, path_beside(output)], done)
