"""Edits that fold adapters, and the parts of parametrised weights, into weights."""

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from ckpttool.catalogue.local_files import local
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError, UnknownName
from ckpttool.core.names import listed
from ckpttool.surgery.edits.edit import Edit, EditWithoutValue
from ckpttool.surgery.edits.splitting import refuse_slots


@dataclass(frozen=True)
class FoldAdapter(Edit):
    """Merge an adapter (LoRA, DoRA, IA3; of PEFT or kohya) into the weights: its folder or file, or FOLDER=SCALE.

    The change is computed in float32 when a weight is read, and the result is rounded to the weight's dtype. Every
    tensor of the adapter must match a weight.
    """

    name: ClassVar[str] = "fold-adapter"
    notation: ClassVar[str] = "ADAPTER[=SCALE]"
    path: str
    scale: float = 1.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a path, and a scale if there is a number after the last equals sign."""
        path, equals, scale = text.rpartition("=")
        if not text:
            raise PlanError("expected the folder or file of an adapter")
        try:
            return cls(path.strip(), float(scale)) if equals and path.strip() else cls(text)
        except ValueError:
            return cls(text)

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the weights with the adapter folded into them.

        Raises:
            MissingFile: there is no adapter.
            FormatError: it is not an adapter, or of an unknown kind.
            UnknownName: the checkpoint lacks a weight that the adapter changes.
            PlanError: a part is missing, or does not fit the weight's shape.
        """
        from ckpttool.surgery.adapters.adapter import Adapter  # imports NumPy, which most edits do not need

        adapter = Adapter.open(local(Path(self.path)))
        changes = adapter.changes(ckpt, self.scale)
        new = {name: change.on(ckpt[name]) for name, change in changes.items()}
        folded = ckpt.holding({name: new.get(name) or tensor for name, tensor in ckpt.items()})
        return folded.made_of(ckpt.provenance.with_changes_of(adapter.tensors.provenance))


@dataclass(frozen=True)
class FoldParametrisations(EditWithoutValue):
    """Fold weight norm, spectral norm and pruning of PyTorch into plain weights.

    `weight_g` and `weight_v`, `weight_orig` with `weight_u` or `weight_mask`, and tensors below `parametrizations` are
    replaced by `weight`, as by `torch.nn.utils.parametrize.remove_parametrizations`. It is computed in float64.

    >>> import numpy as np
    >>> parts = {"fc.weight_g": np.full((1, 1), 5.0), "fc.weight_v": np.array([[3.0, 4.0]]), "fc.bias": np.zeros(1)}
    >>> {name: tensor.read().tolist() for name, tensor in FoldParametrisations().apply(Checkpoint.of(parts)).items()}
    {'fc.weight': [[3.0, 4.0]], 'fc.bias': [0.0]}
    """

    name: ClassVar[str] = "fold-parametrisations"

    def apply(self, ckpt: Checkpoint) -> Checkpoint:
        """Return the checkpoint with weights instead of their parts.

        Raises:
            UnknownName: there are no parts of weights.
            PlanError: the other parts of one are missing, its parametrisation is unknown, or a part has slots.
        """
        from ckpttool.layouts.parts import is_part, parametrised, with_wholes  # imports NumPy

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
