"""ckpttool: transfer learning and checkpoint surgery for saved TensorFlow models.

The public names; each is imported when it is first used, so that `import ckpttool` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ckpttool.checkpoint import Checkpoint as Checkpoint
    from ckpttool.checkpoint import open as open
    from ckpttool.checkpoint import save as save
    from ckpttool.core.errors import CkptError as CkptError
    from ckpttool.core.errors import CorruptCheckpoint as CorruptCheckpoint
    from ckpttool.core.errors import DataError as DataError
    from ckpttool.core.errors import ExistingOutput as ExistingOutput
    from ckpttool.core.errors import FormatError as FormatError
    from ckpttool.core.errors import GraphError as GraphError
    from ckpttool.core.errors import Interrupted as Interrupted
    from ckpttool.core.errors import MissingDependency as MissingDependency
    from ckpttool.core.errors import MissingFile as MissingFile
    from ckpttool.core.errors import PlanError as PlanError
    from ckpttool.core.errors import UnknownName as UnknownName
    from ckpttool.core.names import Pattern as Pattern
    from ckpttool.core.tensors import Tensor as Tensor
    from ckpttool.core.tensors import TensorSpec as TensorSpec
    from ckpttool.foreign.rules import Rule as Rule
    from ckpttool.model.model import Model as Model
    from ckpttool.runtime.configure import configure_tensorflow as configure_tensorflow
    from ckpttool.runtime.pretraining.methods import PretrainingMethod as PretrainingMethod
    from ckpttool.runtime.recipe import Recipe as Recipe
    from ckpttool.runtime.session_import import assign_with_placeholders as assign_with_placeholders
    from ckpttool.runtime.session_import import feed_for_assigns as feed_for_assigns
    from ckpttool.surgery.average import average as average
    from ckpttool.surgery.convert import plan_convert as plan_convert
    from ckpttool.surgery.diff import diff as diff
    from ckpttool.surgery.merge import merge as merge
    from ckpttool.surgery.verify import unchanged as unchanged
    from ckpttool.surgery.verify import verify as verify
    from ckpttool.training.callbacks.callback import Callback as Callback
    from ckpttool.training.callbacks.recording import Recording as Recording
    from ckpttool.training.interrupt import Interrupt as Interrupt
    from ckpttool.training.options import Options as Options
    from ckpttool.training.options import PseudoLabels as PseudoLabels
    from ckpttool.verbs.apply import apply as apply
    from ckpttool.verbs.apply import plan_apply as plan_apply
    from ckpttool.verbs.cache import cache as cache
    from ckpttool.verbs.diagnose import diagnose as diagnose
    from ckpttool.verbs.evaluate import evaluate as evaluate
    from ckpttool.verbs.export_saved_model import plan_saved_model as plan_saved_model
    from ckpttool.verbs.export_weights import plan_export as plan_export
    from ckpttool.verbs.finetune import finetune as finetune
    from ckpttool.verbs.fold import plan_fold as plan_fold
    from ckpttool.verbs.freeze import plan_freeze as plan_freeze
    from ckpttool.verbs.import_weights import plan_import as plan_import
    from ckpttool.verbs.lr_find import find_learning_rate as find_learning_rate
    from ckpttool.verbs.modernize import plan_modernize as plan_modernize
    from ckpttool.verbs.new import new as new
    from ckpttool.verbs.predict import predict as predict
    from ckpttool.verbs.pretrain import pretrain as pretrain
    from ckpttool.verbs.pseudo_labels import finetune_in_rounds as finetune_in_rounds
    from ckpttool.verbs.reuse import plan_reuse as plan_reuse
    from ckpttool.verbs.scan import scan as scan
    from ckpttool.verbs.search import SearchOptions as SearchOptions
    from ckpttool.verbs.search import search_reuse as search_reuse
    from ckpttool.verbs.search_quick import search_quick as search_quick
    from ckpttool.verbs.stats import statistics as statistics
    from ckpttool.verbs.strip import plan_strip as plan_strip

__version__ = "0.1.0"

_PLACES = {
    "Callback": "training.callbacks.callback",
    "Checkpoint": "checkpoint",
    "CkptError": "core.errors",
    "CorruptCheckpoint": "core.errors",
    "DataError": "core.errors",
    "ExistingOutput": "core.errors",
    "FormatError": "core.errors",
    "GraphError": "core.errors",
    "Interrupt": "training.interrupt",
    "Interrupted": "core.errors",
    "MissingDependency": "core.errors",
    "MissingFile": "core.errors",
    "Model": "model.model",
    "Options": "training.options",
    "PseudoLabels": "training.options",
    "Pattern": "core.names",
    "PlanError": "core.errors",
    "PretrainingMethod": "runtime.pretraining.methods",
    "Recipe": "runtime.recipe",
    "Recording": "training.callbacks.recording",
    "Rule": "foreign.rules",
    "SearchOptions": "verbs.search",
    "Tensor": "core.tensors",
    "TensorSpec": "core.tensors",
    "UnknownName": "core.errors",
    "apply": "verbs.apply",
    "assign_with_placeholders": "runtime.session_import",
    "average": "surgery.average",
    "cache": "verbs.cache",
    "configure_tensorflow": "runtime.configure",
    "diagnose": "verbs.diagnose",
    "diff": "surgery.diff",
    "evaluate": "verbs.evaluate",
    "feed_for_assigns": "runtime.session_import",
    "find_learning_rate": "verbs.lr_find",
    "finetune": "verbs.finetune",
    "finetune_in_rounds": "verbs.pseudo_labels",
    "merge": "surgery.merge",
    "new": "verbs.new",
    "open": "checkpoint",
    "plan_apply": "verbs.apply",
    "plan_convert": "surgery.convert",
    "plan_fold": "verbs.fold",
    "plan_export": "verbs.export_weights",
    "plan_freeze": "verbs.freeze",
    "plan_import": "verbs.import_weights",
    "plan_modernize": "verbs.modernize",
    "plan_reuse": "verbs.reuse",
    "plan_saved_model": "verbs.export_saved_model",
    "plan_strip": "verbs.strip",
    "predict": "verbs.predict",
    "pretrain": "verbs.pretrain",
    "save": "checkpoint",
    "scan": "verbs.scan",
    "search_quick": "verbs.search_quick",
    "search_reuse": "verbs.search",
    "statistics": "verbs.stats",
    "unchanged": "surgery.verify",
    "verify": "surgery.verify",
}
"""The module of each public name."""

__all__ = [*_PLACES]  # noqa: PLE0604 - the table above is the list


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives."""
    if name not in _PLACES:
        raise AttributeError(f"module 'ckpttool' has no attribute {name!r}")
    return getattr(import_module(f"ckpttool.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    """List the public names, so that an interactive shell completes them."""
    return [*globals(), *_PLACES]
