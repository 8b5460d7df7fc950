"""A model joined with a data set: which rows are fed to which placeholders, for every verb that has data."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.calls import require_made
from ckpttool.core.collector import collector_paused
from ckpttool.core.errors import GraphError
from ckpttool.core.names import listed
from ckpttool.core.tensors import Array, Tensor
from ckpttool.data.class_files import Classes, check_count, class_names_of
from ckpttool.data.dataset import check_class_names, training_splits
from ckpttool.data.files import Source, Wanted
from ckpttool.data.held_out import HeldOut
from ckpttool.data.rows import Rows
from ckpttool.data.splits import Split, check_class_numbers, check_labels
from ckpttool.graph.contents.batch_losses import BatchLoss, batch_loss
from ckpttool.graph.contents.class_names import class_names, with_class_names
from ckpttool.graph.contents.preprocessing import preprocessing_text
from ckpttool.graph.core import Graph, TensorRef
from ckpttool.graph.rewrite.any_rows import built_for
from ckpttool.graph.rewrite.feeding import any_rows_place, feeding
from ckpttool.graph.rewrite.inference import Inference, in_inference
from ckpttool.graph.rewrite.whole_rows import with_whole_rows
from ckpttool.graph.roles.comparisons import compares_class_numbers, comparison_kind
from ckpttool.graph.roles.compiled import compiled_objective
from ckpttool.graph.roles.resolve import ROLES, Roles, find_roles
from ckpttool.graph.roles.served import called
from ckpttool.model.model import Model
from ckpttool.runtime.function import GraphFunction
from ckpttool.runtime.objectives import Objective
from ckpttool.runtime.shapes import inferred_shapes
from ckpttool.runtime.state import State
from ckpttool.runtime.streaming import Stream
from ckpttool.training.belonging import with_pairs
from ckpttool.training.evaluation_rows import Which, evaluation_rows
from ckpttool.training.objective import put_objective
from ckpttool.training.preprocessing import (
    changed_note,
    scaled_notes,
    trained_text,
    unused_notes,
    with_preprocessing,
)
from ckpttool.training.wanted import placeholder_spec, wanted_by

_NO_CLASSES = frozenset({"sigmoid", "chances", "hinge", "difference"})
"""How losses compare outputs with labels that are not class indices."""


@dataclass(frozen=True)
class Bound:
    """A model with the roles of its tensors, and the splits of a data set that fit its placeholders.

    `of` finds the roles before any data is read; `with_training_rows` or `with_evaluation_rows` opens the rows. If the
    graph has an input pipeline, `model` has placeholders in its place: `given` are the specified roles in this graph,
    `notes` list the changes. `taught` are the logits of a teacher for the rows of the first split.
    """

    model: Model
    roles: Roles
    splits: tuple[Split, ...] = ()
    given: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    taught: Array | None = None

    @classmethod
    @collector_paused()
    def of(
        cls,
        model: Model,
        roles: Mapping[str, Any] | None = None,
        needed: Collection[str] = ROLES,
        classes: Classes = None,
        objective: Objective | None = None,
        seed: int = 0,
    ) -> Self:
        """Find the roles of a model's graph; `roles` names some, those in `needed` must not be ambiguous.

        `classes` names the classes. An objective adds a loss to the outputs, in place of the graph's own. The constants
        of a frozen graph become variables again. The role `signature` selects the signature of a SavedModel.

        Of several towers the first one is used and fed all rows, unless a training op is given that runs all.

        Raises:
            UnknownName: a name in `roles` is not in the graph.
            GraphError: a needed role is ambiguous, or it is unknown which outputs the objective is for.
            PlanError: the objective does not match the outputs.
        """
        require_made("`objective`", objective, Objective)
        model = model.thawed()
        graph, given = called(model.graph, roles or {})
        fed = feeding(graph, given.get("inputs", ()), given.get("labels"), as_built="training_op" in given)
        graph, own, notes = fed.graph, fed.roles(given), fed.notes
        objective = objective or _own_objective(graph, own, needed)
        if objective is not None and "training_op" not in given:
            graph, own, note = put_objective(graph, own, objective, seed)
            notes = (*notes, note)
        found = find_roles(graph, needed, **own)
        tops = [name for name in (found.loss, found.logits, found.accuracy) if name]
        graph = graph if "training_op" in given else with_whole_rows(graph, tops)
        return cls(replace(model, graph=graph), found, given=own, notes=notes).naming(class_names_of(classes))

    def naming(self, names: Sequence[str]) -> Self:
        """Return a copy with other class names; without `names`, itself."""
        before = class_names(self.model.graph)
        if not names or before == tuple(names):
            return self
        changed = [f"the classes were {listed(before)}, now they are {listed(names)}"] if before else []
        model = replace(self.model, graph=with_class_names(self.model.graph, names))
        return replace(self, model=model, notes=(*self.notes, *changed))

    def preprocessing(self, given: str | None) -> Self:
        """Return a copy with other preprocessing of the rows; without a specification, itself."""
        graph, labels = self.model.graph, self.roles.labels
        if given is None:
            return self
        inputs = [placeholder_spec(graph, tensor) for tensor in self.roles.inputs]
        changed = with_preprocessing(graph, given, inputs, TensorRef.parse(labels).op if labels else None)
        model, notes = replace(self.model, graph=changed), changed_note(graph, changed)
        return replace(self, model=model, notes=(*self.notes, *notes))

    def with_training_rows(self, data: Source, held_out: HeldOut, features: str | None) -> Self:
        """Open the training rows and the validation rows; `features` describes records.

        Raises:
            GraphError: the graph has no inputs or labels that are known.
            DataError: the rows do not fit the graph.
        """
        compared = batch_loss(self.model.graph) or BatchLoss()
        wanted = self.wanted(features, labels=compared.pairs in (None, "label"))
        wanted = replace(wanted, group=held_out.group)
        splits = with_pairs(training_splits(data, wanted, held_out), compared)
        check_class_names(data, splits[0], wanted)
        notes = (*unused_notes(self.model.graph), *scaled_notes(self.model.graph, splits))
        return replace(self, splits=splits, notes=(*self.notes, *notes))

    def with_rows_alone(self, data: Source, held_out: HeldOut, features: str | None) -> Self:
        """Open the training rows and the validation rows without labels.

        Raises:
            GraphError: the graph has no inputs that are known.
            DataError: the rows do not fit the graph.
        """
        wanted = replace(self.wanted(features, labels=False), group=held_out.group)
        return replace(self, splits=training_splits(data, wanted, held_out))

    def with_evaluation_rows(self, data: Source, which: Which, features: str | None, labels: bool = True) -> Self:
        """Open the rows to evaluate, or rows to predict, which need no labels.

        Raises:
            GraphError: the graph has no inputs or labels that are known.
            DataError: the rows do not fit the graph.
        """
        wanted = self.wanted(features, labels)
        labelled = wanted if labels or self.roles.labels is None else self.wanted(features)
        rows = evaluation_rows(data, wanted, labelled, which, self.model.path)
        notes = (*unused_notes(self.model.graph), *scaled_notes(self.model.graph, [rows]))
        bound = replace(self, splits=(rows,), notes=(*self.notes, *notes))
        bound.require_batches([bound.splits[0].rows])
        return bound

    def with_graph(self, graph: Graph, roles: Roles, values: Mapping[str, Tensor]) -> Self:
        """Return a copy for another graph of the model with its roles and variable values; the rows stay the same."""
        return replace(self, model=replace(self.model, graph=graph, checkpoint=Checkpoint.of(values)), roles=roles)

    def wanted(self, features: str | None = None, labels: bool = True) -> Wanted:
        """Return which arrays the graph needs from a data set; a loss computed from the inputs alone needs no labels.

        Raises:
            GraphError: the inputs are unknown, or the labels are unknown and needed.
        """
        return wanted_by(self.model.graph, self.roles, features, labels)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The class names by class index: those of the data, else the model's, if any."""
        return next((split.classes for split in self.splits if split.classes), class_names(self.model.graph))

    @property
    def trained_preprocessing(self) -> str | None:
        """The preprocessing of the rows, in the form that a model trained on them stores."""
        graph = self.model.graph
        inputs = [placeholder_spec(graph, tensor) for tensor in self.roles.inputs]
        return trained_text(self.splits[0], inputs) or preprocessing_text(graph)

    def feeds(self, split: Split) -> dict[str, Rows]:
        """Return the rows of a split by the name of the tensor that they are fed to."""
        arrays: dict[str, Rows] = {f"{name}:0": array for name, array in split.inputs.items()}
        return arrays if split.labels is None else {**arrays, str(self.roles.labels): split.labels}

    def require_batches(self, sizes: Iterable[int]) -> None:
        """Check that a batch of `rows` rows can be fed.

        Raises:
            GraphError: a placeholder has another fixed batch size; the message says what would change that.
        """
        graph, roles = self.model.graph, self.roles
        labelled = any(split.labels is not None for split in self.splits)
        for tensor in (*roles.inputs, *([roles.labels] if roles.labels and labelled else [])):
            shape = placeholder_spec(graph, tensor).shape
            rows = shape and (shape[0] or built_for(graph, [TensorRef.parse(tensor).op], surely=True))
            other = next((size for size in sizes if rows not in (None, size)), None)
            if shape and other:
                first = f"{graph.source}: {tensor} takes batches of {rows}, and {other} rows would be fed"
                if "training_op" in self.given:
                    reason = "so do the gradients of the training op"
                    raise GraphError(f"{first}; {reason}: leave `training_op` out, for an `optimizer`")
                parameter, tensors = ("labels", [tensor]) if tensor == roles.labels else ("inputs", roles.inputs)
                place = ", ".join(any_rows_place(graph, each) for each in tensors)
                feeding(graph, [place])
                raise GraphError(f"{first}; `{parameter}` '{place}' lets it take any number")

    def inference(
        self,
        tensors: Sequence[str],
        fed: Iterable[str],
        then: Callable[[list[Any]], list[Any]] | None = None,
    ) -> Stream:
        """Return a predictor that computes tensors from rows `fed` to others, in inference mode.

        `then` computes further tensors from these in the same call.
        """
        constants = mode(self.roles, False)
        function = GraphFunction(
            self.in_inference(tensors, fed).graph, tensors, [*fed, *constants], modes=constants, scaled=False
        )
        return Stream(function, State(function.variables, self.model.checkpoint), constants, then)

    def in_inference(self, tensors: Sequence[str], fed: Iterable[str]) -> Inference:
        """Return the graph in inference mode for some tensors, and notes about the changes."""
        return in_inference(self.model.graph, tensors, [*fed, *mode(self.roles, False)])

    def check_classes(self) -> tuple[int, ...] | None:
        """Check that the model has an output for each label that is a class.

        Returns the shape of a row's logits; None if unknown.

        Raises:
            DataError: a label has no output, or the number of class names differs, or the data has too many.
        """
        roles = self.roles
        if roles.logits is None or roles.labels is None or batch_loss(self.model.graph):  # labels are not classes
            return None
        shape = self._logits_of_a_row(roles.logits)
        kind = comparison_kind(self.model.graph, roles.loss, roles.logits) if roles.loss else None
        if kind != "difference":
            # Folders may name the classes of some outputs only; names given for a model must cover all.
            spare = not class_names(self.model.graph)
            check_count(self.class_names, shape[-1], self.model.path, spare)
        for split in self.splits if kind not in _NO_CLASSES else ():
            check_labels(split, shape[-1])
            if (
                len(shape) == 2
                and shape[0] == 1
                and roles.loss
                and compares_class_numbers(self.model.graph, roles.loss)
            ):
                check_class_numbers(split, shape[-1])
        # One row of a series has several rows of logits if all steps were joined (`reshape(-1, n)`).
        return shape[1:] if shape[0] == 1 or len(shape) < 2 else shape

    def _logits_of_a_row(self, logits: str) -> tuple[int, ...]:
        """Return the shape of one row's logits; a row is run if TensorFlow cannot infer it."""
        first = {f"{name}:0": array[:1] for name, array in self.splits[0].inputs.items()}
        (known,) = inferred_shapes(self.model.graph, [logits], {name: array.shape for name, array in first.items()})
        if known and None not in known:
            return tuple(size or 0 for size in known)
        ((_, (found,)),) = self.inference([logits], first).over(first, 1)
        return found.shape


def mode(roles: Roles, training: bool) -> dict[str, bool]:
    """Return the feed of the training-mode placeholder; empty if the graph has none."""
    return {roles.training: training} if roles.training else {}


def _own_objective(graph: Graph, given: Mapping[str, Any], needed: Collection[str]) -> Objective | None:
    """Return the objective that a Keras model was compiled with, for verbs that need a loss its graph does not have."""
    compiled = compiled_objective(graph) if "labels" in needed else None
    if compiled is None or find_roles(graph, (), **given).loss is not None:
        return None
    return Objective(compiled.objective, None, compiled.label_smoothing)
