"""The content of a model or checkpoint: the rows that the commands print, and reports."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

from ckpttool.api.keywords import JudgedKeywords, judged_of
from ckpttool.api.kinds import CheckpointLike, ModelLike, PathLike, as_path, path_of, to_run
from ckpttool.api.progress import reporting
from ckpttool.api.signatures import takes
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import WrongKind
from ckpttool.core.notebooks import Rows
from ckpttool.data.memory.source import Data, as_source
from ckpttool.reporting.facts import Facts
from ckpttool.scanning.finding import Severity
from ckpttool.training.callbacks.callback import Callbacks
from ckpttool.verbs import formats as formats_verb
from ckpttool.verbs import latest as latest_verb
from ckpttool.verbs import layers as layers_verb
from ckpttool.verbs import ops as ops_verb
from ckpttool.verbs import report as report_verb
from ckpttool.verbs import rules as rules_verb
from ckpttool.verbs import scan as scan_verb
from ckpttool.verbs import show as show_verb
from ckpttool.verbs import stats as stats_verb
from ckpttool.verbs import vars as vars_verb
from ckpttool.verbs.log import History
from ckpttool.verbs.scan import Findings
from ckpttool.verbs.show import TensorReport
from ckpttool.verbs.stats import Statistics


def layers(model: ModelLike | CheckpointLike, tags: Collection[str] | None = None, outputs: bool = False) -> Rows:
    """Return the layers of a model in data-flow order: `name`, `variables`, `parameters`, `output`.

    Args:
        model: A model, a checkpoint, or the path of one.
        tags: The tags of the graph in a SavedModel with several.
        outputs: Whether to build the network of a Keras file, for the outputs of its layers.

    Raises:
        MissingFile: it does not exist.
    """
    path = path_of(model)
    return Rows(layers_verb.rows_and_facts(path, tags, outputs)[0], f"layers of {path}")


def vars(  # noqa: A001 - named as the command is
    source: ModelLike | CheckpointLike,
    pattern: str | None = None,
    slots: bool = False,
    stats: bool = False,
    tags: Collection[str] | None = None,
) -> Rows:
    """Return the tensors of a checkpoint: `name`, `shape`, `dtype`, `bytes`, `kind`.

    Args:
        source: A checkpoint, a model, or the path of one.
        pattern: A pattern of weights; by default everything.
        slots: Whether the pattern also matches the optimizer's tensors.
        stats: Whether to read the values and return statistics.
        tags: The tags of the graph in a SavedModel with several.

    Raises:
        MissingFile: it does not exist.
        UnknownName: the pattern matches nothing.
    """
    path = path_of(source)
    return Rows(vars_verb.variable_rows(path, pattern, slots, stats, _quiet, tags), f"tensors of {path}")


def ops(
    model: ModelLike,
    name: str | None = None,
    op_type: str | None = None,
    tags: Collection[str] | None = None,
    main: bool = False,
) -> Rows:
    """Return the ops of a graph in its order: `name`, `type`, `inputs`.

    Args:
        model: A model or its path.
        name: A regular expression to search in names.
        op_type: A regular expression that matches the whole op type.
        tags: The tags of the graph in a SavedModel with several.
        main: Whether to skip functions.

    Raises:
        MissingFile: there is no graph.
    """
    path = path_of(model)
    return Rows([dict(row) for row in ops_verb.op_rows(path, name, op_type, tags, main)], f"ops of {path}")


@takes(JudgedKeywords)
def report(
    model: ModelLike | CheckpointLike,
    output: PathLike | None = None,
    data: Data | None = None,
    *,
    against: CheckpointLike | None = None,
    card: PathLike | None = None,
    overwrite: bool = False,
    callbacks: Callbacks = (),
    verbose: int = 1,
    ema: bool = False,
    allow_op: Collection[str] = (),
    **settings: Unpack[JudgedKeywords],
) -> Facts:
    """Return everything known about a model, and write it as an HTML page, a model card, or both.

    Args:
        model: A model, a checkpoint, or the path of one.
        output: The HTML page to write.
        data: Rows with labels, a path or in memory, to evaluate the model on; without them nothing is run.
        against: An older version, to show what has changed since.
        card: The model card to write, Markdown.
        overwrite: Whether existing files are overwritten.
        callbacks: One callback or several; they receive the rows and their preprocessing.
        verbose: 0 is silent; 1 shows a progress bar in a notebook or a terminal.
        ema: Whether the moving averages of the weights are used.
        allow_op: Types of ops that may run although they can have side effects.

    Raises:
        WrongKind: an argument has the wrong type.
        CkptError: the model does not exist, the rows do not match it, or a file exists.
    """
    path = path_of(model)
    places = None if output is None else as_path(output), None if card is None else as_path(card)
    report_verb.check_outputs([place for place in places if place], overwrite)
    evaluation = None
    if data is not None:
        if isinstance(model, (Checkpoint, Mapping)):
            raise WrongKind(f"{path}: expected a model, which rows are put through, found a Checkpoint")
        opened, told = to_run(model, allow_op, ema), reporting(callbacks, verbose)
        evaluation = report_verb.evaluation_of(opened, as_source(data), told, **judged_of(settings))
    facts = report_verb.report(path, None if against is None else path_of(against), evaluation, _quiet)
    report_verb.write(facts, *places, overwrite=overwrite)
    return facts


def show(source: CheckpointLike, name: str, full: bool = False) -> TensorReport:
    """Return one tensor: its values, a summary, and a histogram.

    Args:
        source: A checkpoint, a model, or the path of one.
        name: The tensor.
        full: Whether to return all values, even if there are more than a thousand.

    Raises:
        UnknownName: the tensor does not exist.
    """
    return show_verb.tensor_report(path_of(source), name, full)


def stats(
    source: CheckpointLike, pattern: str | None = None, slots: bool = False, with_histograms: bool = False
) -> Statistics:
    """Return statistics of the values of each tensor, and of all weights together.

    Args:
        source: A checkpoint, a model, or the path of one.
        pattern: A pattern of weights; by default everything.
        slots: Whether the pattern also matches the optimizer's tensors.
        with_histograms: Whether to return histograms too.

    Raises:
        UnknownName: the pattern matches nothing.
    """
    return stats_verb.statistics(path_of(source), pattern, slots, _quiet, with_histograms)


def log(source: CheckpointLike) -> History:
    """Return the history of an output: the commands that made it, oldest first, with their inputs.

    Args:
        source: A checkpoint, a model, or the path of one.

    Raises:
        MissingFile: the path does not exist.
    """
    return History.of(path_of(source))


def latest(folder: PathLike) -> Path:
    """Return the prefix of the latest checkpoint in a folder.

    Args:
        folder: The folder with the checkpoints of a training program.

    Raises:
        MissingFile: it is not a folder, or contains no checkpoint.
    """
    return latest_verb.latest(as_path(folder), _quiet)


def list_formats() -> Rows:
    """Return the checkpoint formats: their abilities, the names of outputs, and what they cannot store."""
    return Rows(formats_verb.format_rows(), "formats")


def rules(name: str | None = None) -> Rows | str:
    """Return the included rule sets for weights of other frameworks, or the text of one set.

    Args:
        name: The set whose text is returned.

    Raises:
        UnknownName: the set does not exist.
    """
    return Rows(rules_verb.ready_sets(), "included rule sets") if name is None else rules_verb.ready_set(name)


def scan(paths: PathLike | Sequence[PathLike], least: Severity = "low") -> Findings:
    """Return findings about what in files could have side effects when opened or run; nothing is run.

    Args:
        paths: Files, folders or prefixes of checkpoints: one, or several.
        least: The minimum severity of the findings to return.

    Raises:
        MissingFile: a file does not exist.
    """
    several = paths if isinstance(paths, Sequence) and not isinstance(paths, str) else [paths]
    return scan_verb.scan([as_path(path) for path in several], least)


def _quiet(_text: str) -> Any:
    """Ignore notes about a file, which the command line prints."""
