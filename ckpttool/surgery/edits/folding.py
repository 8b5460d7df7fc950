"""Edits that fold what stands beside weights into them: adapters, and the parts of parametrised weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.core.names import listed
from ckpttool.formats.reading.url_files import local
from ckpttool.lineage.provenance import Provenance
from ckpttool.surgery.edits.edit import Edit, EditWithoutValue
from ckpttool.surgery.edits.splitting import refuse_slots


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


@dataclass(frozen=True)
class FoldParametrisations(EditWithoutValue):
    """Make weights under weight norm, spectral norm or pruning of PyTorch plain: whole, without their parts.

    `weight_g` and `weight_v`, `weight_orig` with `weight_u` or `weight_mask`, and what stands below `parametrizations`
    become `weight`, as `torch.nn.utils.parametrize.remove_parametrizations` leaves it. It is computed in float64.

    >>> import numpy as np
    >>> parts = {"fc.weight_g": np.full((1, 1), 5.0), "fc.weight_v": np.array([[3.0, 4.0]]), "fc.bias": np.zeros(1)}
    >>> {name: tensor.read().tolist() for name, tensor in FoldParametrisations().apply(Checkpoint.of(parts)).items()}
    {'fc.weight': [[3.0, 4.0]], 'fc.bias': [0.0]}
    """

    name: ClassVar[str] = "fold-parametrisations"

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the weights whole.

        Raises:
            UnknownName: there are no parts of weights.
            PlanError: a part's others are missing, or its parametrisation is not known; or a part has slots.
        """
        from ckpttool.layouts.parts import is_part, parametrised, with_wholes  # they need NumPy

        wholes = list(parametrised(ckpt))
        parts = [part for whole in wholes for part in whole.parts]
        alone = [name for name in ckpt if name not in parts and is_part(name)]
        if alone:
            raise PlanError(
                f"{listed(alone, 3)}: of an unknown parametrisation, or without its other parts; "
                "torch.nn.utils.parametrize.remove_parametrizations before saving makes it a weight"
            )
        if not wholes:
            raise UnknownName(
                "no weight has weight norm, spectral norm or pruning, by the names that PyTorch gives to their parts"
            )
        refuse_slots(ckpt, parts, "folded")
        return with_wholes(ckpt, wholes)
