"""ckpttool: transfer learning and checkpoint surgery for saved TensorFlow models.

The public names; each is imported when it is first used, so that `import ckpttool` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ckpttool.checkpoint import Checkpoint as Checkpoint
    from ckpttool.checkpoint import open as open
    from ckpttool.checkpoint import save as save
    from ckpttool.errors import CkptError as CkptError
    from ckpttool.errors import CorruptCheckpoint as CorruptCheckpoint
    from ckpttool.errors import DataError as DataError
    from ckpttool.errors import ExistingOutput as ExistingOutput
    from ckpttool.errors import FormatError as FormatError
    from ckpttool.errors import GraphError as GraphError
    from ckpttool.errors import Interrupted as Interrupted
    from ckpttool.errors import MissingDependency as MissingDependency
    from ckpttool.errors import MissingFile as MissingFile
    from ckpttool.errors import PlanError as PlanError
    from ckpttool.errors import UnknownName as UnknownName
    from ckpttool.foreign.rules import Rule as Rule
    from ckpttool.runtime.recipe import Recipe as Recipe
    from ckpttool.runtime.session_import import assign_with_placeholders as assign_with_placeholders
    from ckpttool.runtime.session_import import feed_for_assigns as feed_for_assigns
    from ckpttool.selection import Pattern as Pattern
    from ckpttool.surgery.average import average as average
    from ckpttool.surgery.convert import plan_convert as plan_convert
    from ckpttool.surgery.diff import diff as diff
    from ckpttool.surgery.merge import merge as merge
    from ckpttool.surgery.verify import unchanged as unchanged
    from ckpttool.surgery.verify import verify as verify
    from ckpttool.tensors import Tensor as Tensor
    from ckpttool.tensors import TensorSpec as TensorSpec
    from ckpttool.transfer.cache import fill
    from ckpttool.transfer.diagnose import diagnose as diagnose
    from ckpttool.transfer.evaluate import evaluate as evaluate
    from ckpttool.transfer.export_weights import plan_export as plan_export
    from ckpttool.transfer.finetune import finetune as finetune
    from ckpttool.transfer.freeze import plan_freeze as plan_freeze
    from ckpttool.transfer.graphs.fold import plan_fold as plan_fold
    from ckpttool.transfer.graphs.modernize import plan_modernize as plan_modernize
    from ckpttool.transfer.graphs.saved_model import plan_saved_model as plan_saved_model
    from ckpttool.transfer.graphs.strip import plan_strip as plan_strip
    from ckpttool.transfer.import_weights import plan_import as plan_import
    from ckpttool.transfer.model import Model as Model
    from ckpttool.transfer.new import new as new
    from ckpttool.transfer.predict import predict as predict
    from ckpttool.transfer.range_test import find_learning_rate as find_learning_rate
    from ckpttool.transfer.reuse import plan_reuse as plan_reuse
    from ckpttool.transfer.runs.recording import Recording as Recording
    from ckpttool.transfer.runs.run import Options as Options
    from ckpttool.transfer.statistics import statistics as statistics

    cache = fill

__version__ = "0.1.0"

_PLACES = {
    "Checkpoint": "checkpoint",
    "CkptError": "errors",
    "CorruptCheckpoint": "errors",
    "DataError": "errors",
    "ExistingOutput": "errors",
    "FormatError": "errors",
    "GraphError": "errors",
    "Interrupted": "errors",
    "MissingDependency": "errors",
    "MissingFile": "errors",
    "Model": "transfer.model",
    "Options": "transfer.runs.run",
    "Pattern": "selection",
    "PlanError": "errors",
    "Recipe": "runtime.recipe",
    "Recording": "transfer.runs.recording",
    "Rule": "foreign.rules",
    "Tensor": "tensors",
    "TensorSpec": "tensors",
    "UnknownName": "errors",
    "assign_with_placeholders": "runtime.session_import",
    "average": "surgery.average",
    "cache": "transfer.cache:fill",
    "diagnose": "transfer.diagnose",
    "diff": "surgery.diff",
    "evaluate": "transfer.evaluate",
    "feed_for_assigns": "runtime.session_import",
    "find_learning_rate": "transfer.range_test",
    "finetune": "transfer.finetune",
    "merge": "surgery.merge",
    "new": "transfer.new",
    "open": "checkpoint",
    "plan_convert": "surgery.convert",
    "plan_fold": "transfer.graphs.fold",
    "plan_export": "transfer.export_weights",
    "plan_freeze": "transfer.freeze",
    "plan_import": "transfer.import_weights",
    "plan_modernize": "transfer.graphs.modernize",
    "plan_reuse": "transfer.reuse",
    "plan_saved_model": "transfer.graphs.saved_model",
    "plan_strip": "transfer.graphs.strip",
    "predict": "transfer.predict",
    "save": "checkpoint",
    "statistics": "transfer.statistics",
    "unchanged": "surgery.verify",
    "verify": "surgery.verify",
}
"""The module of each public name, and after a colon what it is called there, if not the same."""

__all__ = [*_PLACES]  # noqa: PLE0604 - the table above is the list


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives."""
    if name not in _PLACES:
        raise AttributeError(f"module 'ckpttool' has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    return getattr(import_module(f"ckpttool.{module}"), attribute or name)


def __dir__() -> list[str]:
    """List the public names, so that an interactive shell completes them."""
    return [*globals(), *_PLACES]
