"""ckpttool: transfer learning and checkpoint surgery for saved TensorFlow models.

The public names; each is imported when it is first used, so that `import ckpttool` stays quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ckpttool.api.checkpoints import convert as convert
    from ckpttool.api.checkpoints import edit as edit
    from ckpttool.api.checkpoints import join as join
    from ckpttool.api.checkpoints import salvage as salvage
    from ckpttool.api.checkpoints import split as split
    from ckpttool.api.comparing import diff as diff
    from ckpttool.api.comparing import unchanged as unchanged
    from ckpttool.api.comparing import verify as verify
    from ckpttool.api.gates import check as check
    from ckpttool.api.graphs import collections as collections
    from ckpttool.api.graphs import export_saved_model as export_saved_model
    from ckpttool.api.graphs import fold as fold
    from ckpttool.api.graphs import modernize as modernize
    from ckpttool.api.graphs import strip as strip
    from ckpttool.api.judging import diagnose as diagnose
    from ckpttool.api.judging import evaluate as evaluate
    from ckpttool.api.judging import predict as predict
    from ckpttool.api.looking import latest as latest
    from ckpttool.api.looking import layers as layers
    from ckpttool.api.looking import list_formats as list_formats
    from ckpttool.api.looking import log as log
    from ckpttool.api.looking import ops as ops
    from ckpttool.api.looking import report as report
    from ckpttool.api.looking import rules as rules
    from ckpttool.api.looking import scan as scan
    from ckpttool.api.looking import show as show
    from ckpttool.api.looking import stats as stats
    from ckpttool.api.looking import vars as vars
    from ckpttool.api.made import Made as Made
    from ckpttool.api.merging import average as average
    from ckpttool.api.merging import extract as extract
    from ckpttool.api.merging import merge as merge
    from ckpttool.api.networks import freeze as freeze
    from ckpttool.api.networks import new as new
    from ckpttool.api.networks import reuse as reuse
    from ckpttool.api.preparing import cache as cache
    from ckpttool.api.preparing import lr_find as lr_find
    from ckpttool.api.preparing import search as search
    from ckpttool.api.preparing import search_quick as search_quick
    from ckpttool.api.training import finetune as finetune
    from ckpttool.api.training import finetune_in_rounds as finetune_in_rounds
    from ckpttool.api.training import pretrain as pretrain
    from ckpttool.api.weights import export as export
    from ckpttool.api.weights import import_weights as import_weights
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
    from ckpttool.core.errors import WrongKind as WrongKind
    from ckpttool.core.patterns import Pattern as Pattern
    from ckpttool.core.tensors import Tensor as Tensor
    from ckpttool.core.tensors import TensorSpec as TensorSpec
    from ckpttool.data.memory.batches import Batches as Batches
    from ckpttool.foreign.rules import Rule as Rule
    from ckpttool.model.model import Model as Model
    from ckpttool.runtime.configure import configure_tensorflow as configure_tensorflow
    from ckpttool.runtime.pretraining.methods import PretrainingMethod as PretrainingMethod
    from ckpttool.runtime.recipe import Recipe as Recipe
    from ckpttool.runtime.session_import import assign_with_placeholders as assign_with_placeholders
    from ckpttool.runtime.session_import import feed_for_assigns as feed_for_assigns
    from ckpttool.surgery.convert import plan_convert as plan_convert
    from ckpttool.training.callbacks.callback import Callback as Callback
    from ckpttool.training.callbacks.recording import Recording as Recording
    from ckpttool.training.interrupt import Interrupt as Interrupt
    from ckpttool.training.options import Options as Options
    from ckpttool.training.options import PseudoLabels as PseudoLabels
    from ckpttool.verbs.apply import apply as apply
    from ckpttool.verbs.apply import plan_apply as plan_apply
    from ckpttool.verbs.apply_patch import apply_patch as apply_patch
    from ckpttool.verbs.apply_patch import make_patch as make_patch
    from ckpttool.verbs.doctor import doctor as doctor
    from ckpttool.verbs.export_saved_model import plan_saved_model as plan_saved_model
    from ckpttool.verbs.export_weights import plan_export as plan_export
    from ckpttool.verbs.fold import plan_fold as plan_fold
    from ckpttool.verbs.freeze import plan_freeze as plan_freeze
    from ckpttool.verbs.import_weights import plan_import as plan_import
    from ckpttool.verbs.lr_find import find_learning_rate as find_learning_rate
    from ckpttool.verbs.merge import merge_conflicts as merge_conflicts
    from ckpttool.verbs.modernize import plan_modernize as plan_modernize
    from ckpttool.verbs.reuse import plan_reuse as plan_reuse
    from ckpttool.verbs.search import SearchOptions as SearchOptions
    from ckpttool.verbs.search import search_reuse as search_reuse
    from ckpttool.verbs.stats import statistics as statistics
    from ckpttool.verbs.strip import plan_strip as plan_strip
    from ckpttool.verbs.zoo_add import zoo_add as zoo_add
    from ckpttool.verbs.zoo_compact import zoo_compact as zoo_compact
    from ckpttool.verbs.zoo_export import zoo_export as zoo_export
    from ckpttool.verbs.zoo_gc import zoo_gc as zoo_gc
    from ckpttool.verbs.zoo_history import zoo_history as zoo_history
    from ckpttool.verbs.zoo_list import zoo_list as zoo_list
    from ckpttool.verbs.zoo_move import zoo_move as zoo_move
    from ckpttool.verbs.zoo_pull import zoo_pull as zoo_pull
    from ckpttool.verbs.zoo_push import zoo_push as zoo_push
    from ckpttool.verbs.zoo_remove import zoo_remove as zoo_remove
    from ckpttool.verbs.zoo_show import zoo_show as zoo_show
    from ckpttool.verbs.zoo_suggest import zoo_suggest as zoo_suggest
    from ckpttool.verbs.zoo_tag import zoo_tag as zoo_tag
    from ckpttool.verbs.zoo_verify import zoo_verify as zoo_verify

__version__ = "0.1.0"

_PLACES = {
    "check": "api.gates",
    "doctor": "verbs.doctor",
    "Batches": "data.memory.batches",
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
    "Made": "api.made",
    "MissingDependency": "core.errors",
    "MissingFile": "core.errors",
    "Model": "model.model",
    "Options": "training.options",
    "Pattern": "core.patterns",
    "PlanError": "core.errors",
    "PretrainingMethod": "runtime.pretraining.methods",
    "PseudoLabels": "training.options",
    "Recipe": "runtime.recipe",
    "Recording": "training.callbacks.recording",
    "Rule": "foreign.rules",
    "SearchOptions": "verbs.search",
    "Tensor": "core.tensors",
    "TensorSpec": "core.tensors",
    "UnknownName": "core.errors",
    "apply": "verbs.apply",
    "apply_patch": "verbs.apply_patch",
    "make_patch": "verbs.apply_patch",
    "WrongKind": "core.errors",
    "assign_with_placeholders": "runtime.session_import",
    "average": "api.merging",
    "cache": "api.preparing",
    "collections": "api.graphs",
    "configure_tensorflow": "runtime.configure",
    "convert": "api.checkpoints",
    "diagnose": "api.judging",
    "diff": "api.comparing",
    "edit": "api.checkpoints",
    "extract": "api.merging",
    "evaluate": "api.judging",
    "export": "api.weights",
    "export_saved_model": "api.graphs",
    "feed_for_assigns": "runtime.session_import",
    "find_learning_rate": "verbs.lr_find",
    "finetune": "api.training",
    "finetune_in_rounds": "api.training",
    "fold": "api.graphs",
    "freeze": "api.networks",
    "import_weights": "api.weights",
    "join": "api.checkpoints",
    "latest": "api.looking",
    "layers": "api.looking",
    "list_formats": "api.looking",
    "log": "api.looking",
    "lr_find": "api.preparing",
    "merge": "api.merging",
    "merge_conflicts": "verbs.merge",
    "modernize": "api.graphs",
    "new": "api.networks",
    "open": "checkpoint",
    "plan_apply": "verbs.apply",
    "ops": "api.looking",
    "plan_convert": "surgery.convert",
    "plan_export": "verbs.export_weights",
    "plan_fold": "verbs.fold",
    "plan_freeze": "verbs.freeze",
    "plan_import": "verbs.import_weights",
    "plan_modernize": "verbs.modernize",
    "plan_reuse": "verbs.reuse",
    "plan_saved_model": "verbs.export_saved_model",
    "plan_strip": "verbs.strip",
    "predict": "api.judging",
    "pretrain": "api.training",
    "report": "api.looking",
    "reuse": "api.networks",
    "rules": "api.looking",
    "salvage": "api.checkpoints",
    "save": "checkpoint",
    "scan": "api.looking",
    "search": "api.preparing",
    "search_quick": "api.preparing",
    "search_reuse": "verbs.search",
    "show": "api.looking",
    "split": "api.checkpoints",
    "statistics": "verbs.stats",
    "stats": "api.looking",
    "strip": "api.graphs",
    "unchanged": "api.comparing",
    "vars": "api.looking",
    "verify": "api.comparing",
    "zoo_add": "verbs.zoo_add",
    "zoo_compact": "verbs.zoo_compact",
    "zoo_export": "verbs.zoo_export",
    "zoo_gc": "verbs.zoo_gc",
    "zoo_history": "verbs.zoo_history",
    "zoo_list": "verbs.zoo_list",
    "zoo_move": "verbs.zoo_move",
    "zoo_pull": "verbs.zoo_pull",
    "zoo_push": "verbs.zoo_push",
    "zoo_remove": "verbs.zoo_remove",
    "zoo_show": "verbs.zoo_show",
    "zoo_suggest": "verbs.zoo_suggest",
    "zoo_tag": "verbs.zoo_tag",
    "zoo_verify": "verbs.zoo_verify",
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
