"""Two checkpoints compared, with what the graphs beside them say of their tensors."""

from dataclasses import dataclass
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.formats.writing.files import replacing
from ckpttool.model.resolve import Talk, kinds_of, names_taken
from ckpttool.surgery.diff import Diff, diff


@dataclass(frozen=True)
class Comparison:
    """Two checkpoints, or what was taken of them, and how they differ."""

    a: Checkpoint
    b: Checkpoint
    found: Diff

    def write_page(self, path: Path) -> None:
        """Write the difference as a page for a browser, whole or not at all."""
        from ckpttool.surgery.differing.page import page

        with replacing(path) as file:
            file.write(page(self.a, self.b, self.found).encode("utf-8", "backslashreplace"))


def compare(a: Path, b: Path, pattern: str | None, slots: bool, say: Talk) -> Comparison:
    """Compare two checkpoints, or the weights in them that a pattern takes; with `slots` it takes other tensors too.

    Raises:
        MissingFile: one is not there.
        UnknownName: the pattern takes nothing of either.
    """
    one, other = checkpoint.open(a), checkpoint.open(b)
    kind = kinds_of(other, say) | kinds_of(one, say)
    if pattern is not None:
        taken = set(names_taken(pattern, kind, slots))
        one, other = one.only(taken), other.only(taken)
    return Comparison(one, other, diff(one, other, kind))
