"""Report: the facts about a model for a page: what it is, its lineage, and the values and statistics of its layers."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import human_size
from ckpttool.core.errors import CkptError, FormatError, MissingFile, PlanError
from ckpttool.core.names import layer_of
from ckpttool.data.files import Source
from ckpttool.formats.keras.connections import layers_before
from ckpttool.formats.keras.files import is_whole_model
from ckpttool.formats.keras.network import Network, read_network
from ckpttool.formats.writing.files import refuse_existing, replacing
from ckpttool.formats.writing.staging import staged
from ckpttool.graph.contents.layer_links import layer_links
from ckpttool.graph.contents.stored import stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.model.as_run import as_run
from ckpttool.model.model import Model
from ckpttool.model.resolve import Talk, graph_beside, open_either
from ckpttool.reporting.facts import MOST_OTHERS, Against, Commands, Facts, ModelEvaluation, Row, shown_layers
from ckpttool.reporting.model_card import card_body
from ckpttool.reporting.scopes import shape_text
from ckpttool.surgery.filters import Filters
from ckpttool.training.callbacks.callback import Callbacks
from ckpttool.training.run_report import RunReport
from ckpttool.verbs.diagnose import diagnose
from ckpttool.verbs.diff import compare
from ckpttool.verbs.evaluate import evaluate
from ckpttool.verbs.layers import rows_and_facts
from ckpttool.verbs.log import History
from ckpttool.verbs.show_filters import first_filters
from ckpttool.verbs.stats import statistics
from ckpttool.verbs.vars import variable_rows
from ckpttool.zoo.card import Said, card_of, card_text
from ckpttool.zoo.describe import Facts as Found
from ckpttool.zoo.describe import described

KINDS = {
    "ckpt": "a model of TensorFlow 1",
    "saved-model": "a SavedModel",
    "keras": "a model of Keras",
    "graph": "a graph, without a checkpoint",
    "frozen-graph": "a frozen graph",
    "weights": "weights, without a graph",
}
"""Families of models in words."""
LARGEST_KERNEL = 1 << 22
"""The maximum size of a drawn kernel, which is read as a whole."""
BINS = 32
"""Bins of a histogram."""
MOST_FILTERS, TRIED = 64, 40
"""The number of filter images, and of layers that are tried for them, from the first."""
WORST = 24
"""The number of examples shown."""
DIAGNOSED = 500
"""The number of rows for activation statistics."""


def report(
    path: Path,
    against: Path | None = None,
    evaluation: ModelEvaluation | None = None,
    say: Talk = lambda _text: None,
    commands: Commands = lambda _name, _pattern: (),
) -> Facts:
    """Return the facts about a model or checkpoint without running it; tensors are read in pieces.

    Args:
        path: The model or checkpoint.
        against: An older version, to show what has changed since.
        evaluation: The evaluation, if computed.
        say: A function that receives notes for the user.
        commands: A function that returns command lines for a scope, from its name and its pattern.

    Raises:
        MissingFile: the path does not exist.
        FormatError: it is neither.
        CorruptCheckpoint: a tensor's checksum does not match.
    """
    held = open_either(path)
    found = described(path)
    rows, kept = rows_and_facts(path)
    known = {row["name"]: {key: row[key] for key in ("kind", "output_shape")} for row in found.layers}
    layers = [{**row, **known.get(row["name"], {})} for row in rows]
    tensors = {row["name"]: row for row in variable_rows(path, None, False, False, say)}
    if not isinstance(held, Graph):
        read = statistics(path, say=say, with_histograms=BINS, only=_with_figures(layers, tensors)).tensors
        tensors |= {row["name"]: {**tensors[row["name"]], **row} for row in read}
    notes: list[str] = []
    trained, links = _of_graph(path, held, notes)
    run = RunReport.beside(path)
    return Facts(
        path,
        [*_about(path, found, tensors, layers), *_pairs(kept)],
        layers,
        tensors,
        {**trained, **(run.trained if run else {})},
        links,
        _lineage(path, held),
        run.history if run else (),
        None if isinstance(held, Graph) else _first_filters(path, layers, tensors),
        _against(against, path, say) if against else None,
        evaluation,
        notes,
        commands,
        found.library,
    )


def evaluation_of(model: Model, data: Source, callbacks: Callbacks = (), **reading: Any) -> ModelEvaluation:
    """Return the evaluation of a model on rows: metrics, the most confident mistakes, and statistics of its layers.

    Args:
        model: The model, which is not changed.
        data: A path, or one of the other sources of rows, with labels.
        callbacks: One callback or several; they receive the rows and their preprocessing.
        reading: The other arguments of `evaluate`.

    Raises:
        GraphError: the loss, the labels or the inputs of the graph are unknown.
        DataError: the rows do not match the graph.
    """
    found = evaluate(model, data, callbacks=callbacks, worst=WORST, **reading)
    reading.pop("split", None)
    try:
        layers, why = diagnose(model, data, rows=DIAGNOSED, **reading), ""
    except CkptError as error:
        layers, why = [], f"Activations are not known: {error}"
    return ModelEvaluation(str(data), found.as_json(), found.worst, layers, why)


def check_outputs(paths: Iterable[Path], overwrite: bool) -> None:
    """Check that pages and cards can be written.

    Raises:
        ExistingOutput: one of them exists.
        PlanError: no output is specified, or one for both.
    """
    paths = list(paths)
    if not paths:
        raise PlanError("nothing to write: `output` is for a page, `card` for a model card")
    if len({os.path.abspath(path) for path in paths}) < len(paths):  # noqa: PTH100 - links are replaced, not followed
        raise PlanError(f"`output` and `card` are both {paths[0]}: the page and the card are two files")
    refuse_existing(paths, overwrite)


def write(facts: Facts, page: Path | None = None, card: Path | None = None, overwrite: bool = False) -> None:
    """Write a report as an HTML page, a model card (Markdown with the fields of the Hub), or both, in one commit.

    Two files in different folders are a commit each.

    Raises:
        ExistingOutput: one of them exists and `overwrite` is not set.
    """
    texts = {path: of(facts) for path, of in ((page, _page_text), (card, _card_text)) if path}
    for folder in dict.fromkeys(path.parent for path in texts):
        paths = [path for path in texts if path.parent == folder]
        with staged(paths[0], partial(check_outputs, paths, overwrite), partial(list, paths)) as place:
            for path in paths:
                with replacing(place.with_name(path.name)) as file:
                    file.write(texts[path].encode("utf-8", "backslashreplace"))


def _page_text(facts: Facts) -> str:
    from ckpttool.reporting.page import page

    return page(facts)


def _card_text(facts: Facts) -> str:
    evaluation = facts.evaluation
    figures = evaluation.figures if evaluation else {}
    measured = [f"{key}={figures[key]}" for key in ("accuracy", "loss") if figures.get(key) is not None]
    datasets = [Path(evaluation.data).stem] if evaluation else []
    task = "image-classification" if evaluation and any(each.image is not None for each in evaluation.worst) else None
    said = Said(metrics=measured, task=task, datasets=datasets)
    return card_text(facts.path.name, {**card_of(said, library=facts.library), "text": card_body(facts)})


def _with_figures(layers: Sequence[Row], tensors: Iterable[str]) -> set[str]:
    """Return the tensors whose statistics a page shows: those of the first layers, and those in no layer."""
    inside = {name for layer in layers for name in layer["variables"]}
    shown = {name for layer in shown_layers(layers) for name in layer["variables"]}
    return shown | set([name for name in tensors if name not in inside][:MOST_OTHERS])


def _about(path: Path, found: Found, tensors: Mapping[str, Row], layers: Sequence[Row]) -> Iterator[tuple[str, str]]:
    """Yield the properties of a model, as pairs of name and value."""
    yield "path", str(path)
    yield "kind", KINDS.get(found.family, found.family)
    if found.held:
        yield "format", str(found.held.format)
    size = sum(row["bytes"] or 0 for row in tensors.values())
    dtypes = dict.fromkeys(row["dtype"] for row in tensors.values())
    yield "tensors", f"{len(tensors):,}, {human_size(size)}: {', '.join(dtypes)}"
    yield "parameters", f"{sum(layer['parameters'] for layer in layers):,}"
    for key, rows in (("inputs", found.inputs), ("outputs", found.outputs)):
        if rows:
            yield key, ", ".join(f"{row['name']} {shape_text(row['shape'])} {row['dtype']}" for row in rows)


def _pairs(kept: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the stored facts about rows, as pairs of name and value."""
    for fact in kept:
        key, colon, text = fact.partition(": ")
        if colon:
            yield key, text


def _of_graph(
    path: Path, held: Checkpoint | Graph, notes: list[str]
) -> tuple[dict[str, bool], Mapping[str, tuple[str, ...]]]:
    """Return which weights are trained, and the inputs of each layer, if the graph determines it; else a note."""
    try:
        if path.is_file() and is_whole_model(path):
            return _of_network(read_network(path), held)
        graph = held if isinstance(held, Graph) else graph_beside(held.path)
        if graph is None:
            return {}, {}
        run = as_run(graph, held if isinstance(held, Checkpoint) else Checkpoint.of({}))[0]
        return _trained(run), layer_links(run)
    except CkptError as error:
        notes.append(f"how its layers are connected is not known: {error}")
        return {}, {}


def _trained(graph: Graph) -> dict[str, bool]:
    """Return which weights a graph trains, without the moving averages of trained layers."""
    weights = {name: each for name, each in stored_tensors(graph).items() if each.kind == "weight"}
    layers = {layer_of(name) for name, each in weights.items() if each.trainable}
    return {name: each.trainable for name, each in weights.items() if each.trainable or layer_of(name) not in layers}


def _of_network(network: Network, held: Checkpoint | Graph) -> tuple[dict[str, bool], Mapping[str, tuple[str, ...]]]:
    """Return which weights a Keras network trains; its layers may be marked as not trainable."""
    frozen = {str(name) for name in _frozen(network.architecture)}
    names = list(held) if isinstance(held, Checkpoint) else []
    trained = {name: not frozen.intersection(name.split("/")[:-1]) for name in names}
    return trained, layers_before(network.architecture)


def _frozen(config: Any) -> Iterator[Any]:
    """Yield the names of layers that are not trained."""
    todo = [config]
    while todo:
        value = todo.pop()
        if isinstance(value, Mapping):
            if value.get("trainable") is False:
                yield value.get("name")
            todo += value.values()
        elif isinstance(value, list):
            todo += value


def _against(older: Path, path: Path, say: Talk) -> Against:
    """Return the differences of a model from an older one."""
    found = compare(older, path, None, False, say)
    return Against(older, found.diff, found.verdict, found.spectra)


def _lineage(path: Path, held: Checkpoint | Graph) -> Mapping[str, Any]:
    """Return the lineage of a model; empty for a graph alone without one."""
    try:
        return History.of(path).as_json()
    except (FormatError, MissingFile):
        if isinstance(held, Graph):
            return {}
        raise


def _first_filters(path: Path, layers: Sequence[Row], tensors: Mapping[str, Row]) -> tuple[str, Filters] | None:
    """Return the filter images of the first layer that can be drawn; None if none can."""
    small = [
        layer["name"]
        for layer in layers[:TRIED]
        if all(prod(tensors[name]["shape"]) <= LARGEST_KERNEL for name in layer["variables"] if name in tensors)
    ]
    return first_filters(path, small, MOST_FILTERS)
