"""ckpttool: transfer learning and checkpoint surgery for saved TensorFlow models.

The public names; each is imported when it is first used, so that `import ckpttool` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ckpttool.checkpoint import Checkpoint, open, save
    from ckpttool.errors import CkptError
    from ckpttool.runtime.optimizers import Optimizer
    from ckpttool.selection import Pattern
    from ckpttool.surgery.diff import diff
    from ckpttool.surgery.verify import verify
    from ckpttool.tensors import Tensor, TensorSpec
    from ckpttool.transfer.cache import fill as cache
    from ckpttool.transfer.evaluate import evaluate
    from ckpttool.transfer.finetune import finetune
    from ckpttool.transfer.model import Model
    from ckpttool.transfer.new import new
    from ckpttool.transfer.reuse import plan_reuse
    from ckpttool.transfer.run import Options

__version__ = "0.1.0"

_PLACES = {
    "Checkpoint": "checkpoint:Checkpoint",
    "CkptError": "errors:CkptError",
    "Model": "transfer.model:Model",
    "Optimizer": "runtime.optimizers:Optimizer",
    "Options": "transfer.run:Options",
    "Pattern": "selection:Pattern",
    "Tensor": "tensors:Tensor",
    "TensorSpec": "tensors:TensorSpec",
    "cache": "transfer.cache:fill",
    "diff": "surgery.diff:diff",
    "evaluate": "transfer.evaluate:evaluate",
    "finetune": "transfer.finetune:finetune",
    "new": "transfer.new:new",
    "open": "checkpoint:open",
    "plan_reuse": "transfer.reuse:plan_reuse",
    "save": "checkpoint:save",
    "verify": "surgery.verify:verify",
}

__all__ = [*_PLACES]  # noqa: PLE0604 - the table above is the list


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives."""
    if name not in _PLACES:
        raise AttributeError(f"module 'ckpttool' has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    return getattr(import_module(f"ckpttool.{module}"), attribute)
