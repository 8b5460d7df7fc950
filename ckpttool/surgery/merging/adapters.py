"""Adapters: checkpoints of low-rank or scaling factors for another model's weights, recognised by tensor names.

The names are those of PEFT, diffusers and kohya's scripts: LoRA (Hu et al. 2021, arXiv:2106.09685), LoHa, LoKr, IA3.
"""

import re
from collections.abc import Collection, Sequence

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.names import listed
from ckpttool.surgery.merging.agreement import label

_KINDS = {
    "LoRA": r"lora_(A|B|E|embedding_[AB]|magnitude_vector|up|down)|lora[._](up|down)|lora_linear_layer",
    "LoHa": "hada_w[12](_[ab])?",
    "LoKr": "lokr_w[12](_[ab])?",
    "IA3": "ia3_l",
}
_NAMES = {kind: re.compile(rf"(^|.*[./_])({parts})([._/].*|$)", re.DOTALL) for kind, parts in _KINDS.items()}
SHARE = 0.5
"""The fraction of adapter names that makes a checkpoint an adapter; the others are alphas or fully trained layers."""


def adapter_kind(names: Collection[str]) -> str | None:
    """Return the kind of adapter that has these tensor names, or None.

    >>> adapter_kind(["base_model.model.q_proj.lora_A.weight", "base_model.model.q_proj.lora_B.weight"])
    'LoRA'
    >>> adapter_kind(["q_proj.weight", "k_proj.weight", "q_proj.lora_A.weight"])
    """
    for kind, pattern in _NAMES.items():
        if names and sum(pattern.match(name) is not None for name in names) >= SHARE * len(names):
            return kind
    return None


def refuse_adapters(checkpoints: Sequence[Checkpoint]) -> None:
    """Check that adapters are not merged by name with a model, which would leave its weights unchanged.

    Raises:
        PlanError: some of the checkpoints are adapters and others are not.
    """
    kinds = [adapter_kind(source) for source in checkpoints]
    if all(kinds) or not any(kinds):
        return
    number, kind = next((number, kind) for number, kind in enumerate(kinds) if kind)
    adapter, model = checkpoints[number], checkpoints[kinds.index(None)]
    into = "the edit `fold-adapter` folds LoRA, DoRA and IA3 into the weights"
    if kind in ("LoHa", "LoKr"):
        into = (
            f"PEFT's `merge_and_unload()` merges {kind} into the weights, which the edit `fold-adapter` does not "
            "support"
        )
    raise PlanError(
        f"{label(adapter, number)} is an adapter ({kind}): its {len(adapter)} tensors ({listed(list(adapter), 1)}) are "
        f"factors of changes to the weights of {label(model, kinds.index(None))}, which a union leaves unchanged; "
        f"{into}; `lenient` "
        f"writes the union nevertheless"
    )
