"""Edits that fold what stands beside weights into them: adapters."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.formats.reading.url_files import local
from ckpttool.lineage.provenance import Provenance
from ckpttool.surgery.edits.edit import Edit


@dataclass(frozen=True)
class FoldAdapter(Edit):
    """Put an adapter (LoRA, DoRA, IA3; of PEFT or kohya) into the weights: its folder or file, or FOLDER=SCALE.

    What is added is computed in float32 when a weight is read, and rounded to the weight's dtype. Every tensor of the
    adapter must find its place.
    """

    name: ClassVar[str] = "fold-adapter"
    notation: ClassVar[str] = "ADAPTER[=SCALE]"
    path: str
    scale: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a path, with a scale where a number stands behind a last equals sign."""
        path, equals, scale = text.rpartition("=")
        if not text:
            raise PlanError("expected the folder or file of an adapter")
        try:
            return cls(path.strip(), float(scale)) if equals and path.strip() else cls(text)
        except ValueError:
            return cls(text)

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the weights with the adapter in them.

        Raises:
            MissingFile: there is no adapter.
            FormatError: it is none, or of a kind that is not known.
            UnknownName: the checkpoint lacks a weight that it changes.
            PlanError: a part is missing, or of another shape than the weight needs.
        """
        from ckpttool.surgery.adapters.adapter import Adapter  # it needs NumPy, which most edits do not

        adapter = Adapter.open(local(Path(self.path)))
        changes = adapter.changes(ckpt, self.scale)
        new = {name: change.on(ckpt[name]) for name, change in changes.items()}
        folded = ckpt.holding({name: new.get(name) or tensor for name, tensor in ckpt.items()})
        return folded.made_of(Provenance.joined(ckpt.provenance, adapter.tensors.provenance))
