"""The preprocessing stored in a model: read for its inputs, and replaced by what is specified for a run.

A graph stores it as text (`graph.contents.preprocessing`); `data.preprocessing` defines its meaning.
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace

import numpy as np

from ckpttool.core.errors import PlanError
from ckpttool.data.files import InputSpec
from ckpttool.data.preprocessing import Preprocessing, Steps, notation
from ckpttool.data.preprocessing_steps import Nothing
from ckpttool.data.ranges import BYTES
from ckpttool.data.splits import Split
from ckpttool.graph.contents.preprocessing import preprocessing_text, with_preprocessing_text
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.roles.bytes_scaled import bytes_scaled


def kept_steps(graph: Graph, inputs: Sequence[InputSpec], labels: str | None) -> dict[str, Steps]:
    """Return the steps that a graph stores for inputs and labels, by op name; none for an input that it scales itself.

    Raises:
        PlanError: the stored text cannot be parsed, or it is ambiguous which input it is for.
    """
    text = preprocessing_text(graph)
    if text is None:
        return {spec.name: (Nothing(),) for spec in inputs if bytes_scaled(graph, spec.name)}
    try:
        return _by_ops(Preprocessing.parse(text, "the preprocessing"), inputs).of_known(_images(inputs), labels)
    except PlanError as error:
        raise PlanError(f"{graph.source}: it keeps {text!r}: {error}; `preprocess` specifies another") from error


def with_preprocessing(graph: Graph, given: str | None, inputs: Sequence[InputSpec], labels: str | None) -> Graph:
    """Return the graph with the specified preprocessing stored in it; other inputs keep theirs.

    Raises:
        PlanError: it cannot be parsed, names something that is not an input, or is ambiguous.
    """
    if given is None:
        return graph
    asked = _by_ops(Preprocessing.parse(given), inputs)
    if not inputs:
        return with_preprocessing_text(graph, str(asked))
    steps = asked.of_inputs(_images(inputs), labels)
    kept: dict[str, Steps] = {}
    with suppress(PlanError) if steps.keys() >= {spec.name for spec in inputs} else nullcontext():
        kept = kept_steps(graph, inputs, labels)
    return with_preprocessing_text(graph, written({**kept, **steps}, inputs))


def written(steps: Mapping[str, Steps], inputs: Sequence[InputSpec]) -> str | None:
    """Return steps by input as text; None if there are none."""
    alone = inputs[0].name if len(inputs) == 1 else None
    return str(Preprocessing.of_steps(steps, alone)) if steps else None


def scaled_notes(graph: Graph, splits: Sequence[Split]) -> list[str]:
    """Return notes on uint8 inputs that are not scaled here, because the graph scales them itself."""
    if preprocessing_text(graph) is not None:
        return []
    found = [
        (name, op)
        for name, column in splits[0].stored.items()
        if name in splits[0].inputs and column.array.dtype == np.uint8 and (op := bytes_scaled(graph, name))
    ]
    way_out = "`preprocess` specifies what else to do"
    return [f"bytes for {name} are not scaled: the graph scales them, at {op}; {way_out}" for name, op in found]


def trained_text(split: Split, inputs: Sequence[InputSpec]) -> str | None:
    """Return the preprocessing of a split, defaults included, as the text that its model will store."""
    return written(split.steps, inputs)


def unusual_steps(splits: Sequence[Split]) -> str:
    """Return the preprocessing of the inputs of splits that differs from the default; empty if none does."""
    found = []
    for split in splits:
        for name, steps in split.steps.items():
            stored = split.stored.get(name)
            usual = BYTES if stored is not None and stored.array.dtype == np.uint8 else (Nothing(),)
            if name in split.inputs and steps != usual:
                found.append(f"{split.name} {name}: {notation(steps)}")
    return "\n".join(found)


def unused_notes(graph: Graph) -> list[str]:
    """Return notes on stored preprocessing of inputs that the graph does not have (any more)."""
    text = preprocessing_text(graph)
    with suppress(PlanError):
        names = [name for name, _ in Preprocessing.parse(text).named] if text else []
        ends = {name.rpartition("/")[2] for name in graph.nodes} if names else set()
        lost = [name for name in names if name not in graph.nodes and name not in ends]
        return [f"not applied, because there is no such input: the preprocessing of {name}" for name in lost]
    return []


def without_labels(graph: Graph, labels: str | None) -> Graph:
    """Return a graph without the stored preprocessing of the old labels (a tensor), for a new head."""
    text = preprocessing_text(graph)
    if text is None or labels is None:
        return graph
    with suppress(PlanError):
        kept = Preprocessing.parse(text)
        named = tuple((name, steps) for name, steps in kept.named if name != TensorRef.parse(labels).op)
        return with_preprocessing_text(graph, str(replace(kept, named=named)) if named or kept.steps else None)
    return graph


def changed_note(before: Graph, after: Graph) -> list[str]:
    """Return a note if the specified preprocessing differs from the stored one."""
    old, new = preprocessing_text(before), preprocessing_text(after)
    return [f"the preprocessing was {old}, now it is {new}"] if old not in (None, new) else []


def _by_ops(asked: Preprocessing, inputs: Sequence[InputSpec]) -> Preprocessing:
    """Return the steps by op name instead of by the input names of a signature."""
    ops = {key: spec.name for spec in inputs for key in spec.keys} | {spec.name: spec.name for spec in inputs}
    return replace(asked, named=tuple((ops.get(name, name), steps) for name, steps in asked.named))


def _images(inputs: Sequence[InputSpec]) -> dict[str, bool]:
    """Return for each input whether its rows are images."""
    return {spec.name: spec.shape is None or len(spec.shape) > 2 for spec in inputs}
