"""An output and its lineage: where that lies, and one commit for both."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from ckpttool.formats.format import Format
from ckpttool.formats.writing.files import refuse_existing
from ckpttool.formats.writing.staging import staged

SUFFIX = ".lineage.json"


def path_beside(output: Path) -> Path:
    """Return where the lineage of an output lies that has no place for it.

    >>> str(path_beside(Path("models/small.ckpt")))
    'models/small.ckpt.lineage.json'
    """
    return Path(f"{str(output).removesuffix('.index')}{SUFFIX}")


def staged_output(
    output: Path, target: Format, overwrite: bool, beside: Sequence[Path] = ()
) -> AbstractContextManager[Path]:
    """Give the place to write an output of a format at, its lineage and what else lies `beside`: one commit for all.

    Raises:
        ExistingOutput: one of these is there, and `overwrite` was not given.
    """

    def check() -> None:
        target.refuse(output, overwrite)
        refuse_existing(beside, overwrite)

    return staged(output, check, lambda: [*target.outputs(output), *beside, path_beside(output)])
