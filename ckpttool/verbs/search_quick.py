"""Quick search: how deep a model is worth reusing for other rows, by scores of frozen layers; nothing is trained."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ckpttool.core.counts import counted
from ckpttool.core.dtypes import BY_NAME
from ckpttool.core.errors import DataError, PlanError
from ckpttool.core.tensors import Array
from ckpttool.data.dataset import training_rows
from ckpttool.data.drawing import draw
from ckpttool.data.files import InputSpec, Source
from ckpttool.graph.contents.preprocessing import preprocessing_text
from ckpttool.model.model import Model
from ckpttool.searching.cuts import cut_at
from ckpttool.searching.depths import Depth, depths
from ckpttool.searching.features import FeaturePass
from ckpttool.searching.quick import Ranking, ScoredDepth, ranking
from ckpttool.searching.targets import Classes, Kind, doubts, targets_of
from ckpttool.training.bound import Bound, placeholder_spec
from ckpttool.training.callbacks.callback import CallbackList, Callbacks
from ckpttool.training.options import Options
from ckpttool.training.preprocessing import scaled_notes
from ckpttool.training.spread import odd_rows

ROWS = 5000
"""Rows that are scored at most, where nothing else is said."""
LABELS = InputSpec("y", None, BY_NAME["int64"])
"""What labels are called for a model that has none."""


@dataclass(frozen=True)
class Reuse:
    """What `reuse` is told for the best depth: which layers, where the head goes on, and of which layers it is.

    `layers` is None where nothing of the model is reused: then the input shape and the preprocessing are those of a new
    model's rows; none of a model of several inputs.
    """

    layers: str | None
    after: str | None
    head: str
    objective: str | None
    input_shape: tuple[int, ...] = ()
    preprocess: str | None = None


@dataclass(frozen=True, eq=False)
class QuickSearch:
    """The quick answer: depths and their scores, of how many of the rows, and what the labels were taken for.

    `reuse` makes a model of the best depth. `seconds` are those of the features, and those of the scores.
    """

    ranking: Ranking
    rows: int
    of_rows: int
    kind: Kind
    reuse: Reuse
    notes: Sequence[str]
    seconds: tuple[float, float]

    def lines(self) -> list[str]:
        """Return what the scores say in words, and what they do not."""
        best, chosen = self.ranking.best, self.ranking.chosen
        depth = best.features.depth
        place = f"depth {depth.number}, up to {depth.layers[-1]}" if depth.layers else "depth 0, the input alone"
        what = "R squared" if self.kind == "amounts" else "accuracy"
        fair = f"a depth that half of the rows choose has {chosen:.3f} on the other half"
        ties = [f"{each.features.depth.number}" for each in self.ranking.depths if each.tied and each is not best]
        return [
            f"best: {place}: {what} {best.expected:.3f}, of the rows that chose it; {fair}",
            *(
                [f"as good, as far as {counted(self.rows, 'row tells', 'rows tell')}: depth {', '.join(ties)}"]
                if ties
                else []
            ),
            "it is of frozen layers below a linear one that ridge regression fits: a trained one may be some points "
            "better or worse, and what training some of the layers would give it does not say",
        ]

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "rows": self.rows,
            "of_rows": self.of_rows,
            "labels": self.kind,
            "depths": [each.as_json() for each in self.ranking.depths],
            "best": self.ranking.best.features.depth.number,
            "tied": [each.features.depth.number for each in self.ranking.depths if each.tied],
            "chosen": self.ranking.chosen,
            "reuse": asdict(self.reuse),
            "seconds": dict(zip(("features", "scores"), self.seconds, strict=True)),
        }


def search_quick(
    model: Model,
    data: Source,
    options: Options | None = None,
    callbacks: Callbacks = (),
    rows: int = ROWS,
) -> QuickSearch:
    """Return how well a linear head would do on each depth of a model whose layers below it stay frozen.

    Nothing is trained: what the layers give is computed for the training rows, once, and scored in closed form. The
    labels need not be those of the model, which needs neither labels nor a loss itself.

    Args:
        model: The model, which is not changed.
        data: A path, or one of the other sources of rows, with labels.
        options: Of these, `objective` says what labels are (softmax, sigmoid, mse), `roles` name tensors, `features`
            say what records hold, and `preprocess` what is done to rows, which are drawn by the `seed`.
        callbacks: One callback or several; they are passed the rows, notes, and how far the features are.
        rows: How many rows to score at most; of more some are drawn, each class in its share.

    Raises:
        PlanError: fewer than two rows are asked for.
        GraphError: no layers or inputs of the graph are known.
        DataError: the rows do not fit the graph, the labels cannot be learnt, or a feature is no finite number.
    """
    if rows < 2:
        raise PlanError(f"`rows` must be 2 or more, found {rows}")
    callback, options = CallbackList(callbacks), options or Options()
    objective = options.objective.kind if options.objective else None
    seed, roles = options.seed, options.roles
    bound = Bound.of(model, roles, ("inputs",)).preprocessing(options.preprocess)
    found = depths(bound.model.graph, bound.roles.inputs, bound.given.get("logits"))
    bound, labels = _with_rows(bound, data, options.features)
    where = bound.splits[0].labels_stored or "labels"
    classes = targets_of(labels, where, objective)[0]
    callback.on_data(bound.splits)
    began = time.perf_counter()
    run = FeaturePass(bound, found)
    count = min(rows, run.most_rows(), len(labels))
    numbers = draw(len(labels), count, classes.codes if isinstance(classes, Classes) else None, seed)
    targets, kind = targets_of(labels[numbers], where, objective)
    notes = [*bound.notes, *run.notes, *doubts(targets), *odd_rows(bound)]
    notes += ["there is no layer below the output layer: the input alone is scored"] if len(found) < 2 else []
    notes += [f"{count} of {len(labels)} rows are scored, drawn by the seed {seed}"] if count < len(labels) else []
    callback.on_notes(notes)
    computed = run.over(numbers, callback.on_features)
    between = time.perf_counter()
    ranked = ranking(computed, targets, seed)
    seconds = between - began, time.perf_counter() - between
    return QuickSearch(
        ranked, count, len(labels), kind, _reuse(bound, found, ranked.best, labels, kind), notes, seconds
    )


def _with_rows(bound: Bound, data: Source, features: str | None) -> tuple[Bound, Array]:
    """Return a model with the training rows of a data set, and the labels of these as the data set has them.

    Raises:
        DataError: there are no labels, or the rows do not fit the inputs.
    """
    labels = bound.roles.labels
    spec = LABELS if labels is None else replace(placeholder_spec(bound.model.graph, labels), steps=None)
    wanted = replace(bound.wanted(features, labels=False), labels=spec, beside=(), classes=())
    rows = training_rows(data, wanted)
    if rows.labels is None:
        raise DataError(f"{data}: no labels: expected {' or '.join(wanted.label_names())}")
    notes = scaled_notes(bound.model.graph, [rows])
    bound = replace(bound, splits=(replace(rows, labels=None),), notes=(*bound.notes, *notes))
    bound.require_batches([rows.rows])
    return bound, rows.labels


def _reuse(bound: Bound, found: Sequence[Depth], best: ScoredDepth, labels: Array, kind: Kind) -> Reuse:
    """Return what makes a model of the best depth: its layers under a linear head."""
    graph, features = bound.model.graph, best.features
    below = [layer for depth in found[: features.depth.number + 1] for layer in depth.layers]
    count = labels.shape[1] if labels.ndim == 2 and labels.shape[1] > 1 else 1
    if kind == "classes" and count == 1:
        count = int(labels.max()) + 1
    head = f"{'outputs' if 'outputs' not in below else 'new_outputs'} = dense({count})"
    if len(features.shape) > 1:
        head = f"{'pool = global_avg_pool()' if features.pooled else 'flat = flatten()'}; {head}"
    objective = {"labels": "sigmoid", "amounts": "mse"}.get(kind)
    if not below:
        alone = features.shape if len(bound.roles.inputs) == 1 else ()
        return Reuse(None, None, head, objective, alone, preprocessing_text(graph))
    cut = cut_at(graph, found, features.depth.number)
    return Reuse(cut.layers, cut.after, head, objective)
