"""Import: weights of another framework become the values of a graph's variables, through its assign ops."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, PlanError
from ckpttool.core.notes import notes_about
from ckpttool.core.tensors import TOLERANCE, Tensor
from ckpttool.foreign.bake import bake as bake_values
from ckpttool.foreign.bake import check_size
from ckpttool.foreign.epsilons import EpsilonGap, gaps
from ckpttool.foreign.evidence import Evidence
from ckpttool.foreign.names import layer_by_role
from ckpttool.foreign.pairing import Pairing, pair_weights
from ckpttool.foreign.row_norms import row_norm_notes
from ckpttool.foreign.rules import Rule
from ckpttool.formats.tensorflow.object_graph import BESIDE_VALUES
from ckpttool.graph.contents.stored import StoredTensor, stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.layouts.layout import Keep
from ckpttool.lineage.output import staged_output
from ckpttool.lineage.provenance import Command, Provenance
from ckpttool.model.families import Contents, family_of
from ckpttool.model.fill_plan import FillPlan
from ckpttool.model.graphs import graph_to_fill
from ckpttool.model.model import Model
from ckpttool.model.plan import ModelPlan, PlanRow, file_notes, plan_rows
from ckpttool.model.resolve import graph_that_keeps, open_checkpoint
from ckpttool.runtime.state import fresh_tensors
from ckpttool.verbs.import_proof import ReferenceProof
from ckpttool.verbs.import_settled import settle
from ckpttool.verbs.inputs import with_preprocessed_inputs
from ckpttool.verbs.reference import Reference, feeds_and_outputs


@dataclass(frozen=True, repr=False)
class ImportPlan(ModelPlan):
    """The plan: the graph, the paired tensors, and for the rest the model's own or new initial values.

    With `bake` the paired values are also written into the graph's initialisers. With a `proof` the output is compared
    with the source's outputs, and is not written if it computes something else.
    """

    graph: Graph
    pairing: Pairing
    own: Mapping[str, Tensor]
    model: Path
    seed: int
    bake: bool
    notes: tuple[str, ...]
    provenance: Provenance
    to: str | None = None
    proof: ReferenceProof | None = None

    @property
    def targets(self) -> Mapping[str, StoredTensor]:
        """The tensors of the graph's checkpoint by name."""
        return stored_tensors(self.graph)

    @cached_property
    def epsilons(self) -> list[EpsilonGap]:
        """The batch normalisations whose tensors are imported unchanged although the graph's epsilon differs."""
        return list(gaps(self.graph, self.targets, self._kept, Evidence(self.pairing.weights)))

    @property
    def row_epsilons(self) -> Sequence[str]:
        """Notes on layer and group normalisations whose epsilon is not the source's default."""
        return list(row_norm_notes(self.graph, self.targets, self._kept, Evidence(self.pairing.weights)))

    @property
    def _kept(self) -> Mapping[str, str]:
        """The source's tensors by the variables that they become unchanged."""
        pairs = (pair for pair in self.pairing.pairs if isinstance(pair.layout, Keep) and len(pair.sources) == 1)
        return {pair.targets[0]: pair.sources[0] for pair in pairs}

    @property
    def rows(self) -> list[PlanRow]:
        """The plan, a row per weight; weights that keep the model's value have the model as their source."""
        own = {name: f"{self.model}:{name}" for name in self.own}
        return plan_rows(self.graph, own | self.pairing.sources)

    @property
    def done(self) -> str:
        """A statement about the written output."""
        return f"written and read back, {counted(len(self.pairing.tensors), 'tensor')} imported"

    def check(self, output: str | Path, overwrite: bool = False) -> None:
        """Check what can be checked before anything is read or written.

        Raises:
            ExistingOutput: the output exists.
            PlanError: the values are too large for a graph.
        """
        super().check(output, overwrite)
        if self.bake:
            check_size(self.graph, self.pairing.tensors)

    def write(self, output: str | Path, overwrite: bool = False, command: Command | None = None) -> Sequence[str]:
        """Write the graph and the checkpoint, read both back, and prove what they compute.

        Raises:
            CkptError: `check` finds something, or a value cannot be read.
            CorruptCheckpoint: what was read back differs.
            ReferenceDiffers: it does not reproduce the reference; nothing is written.
        """
        command = command or Command.of_call("import", self.model, output)
        self.check(output, overwrite)
        graph = bake_values(self.graph, self.pairing.tensors) if self.bake else self.graph
        contents, writer = Contents(graph, self.tensors(), self.provenance, command), self.writer(output)
        with staged_output(Path(output), writer, overwrite) as place:
            notes = writer.write(contents, place, overwrite).notes
            if self.proof is not None:
                opened = Model.open(place, self.graph.allowed)
                notes = [*notes, self.proof.of(opened, self.epsilons, self.pairing.pairs)]
        return notes

    def tensors(self) -> dict[str, Tensor]:
        """Return every tensor of the graph's checkpoint: imported, the model's own, or newly initialised."""
        known = {**self.own, **self.pairing.tensors}
        fresh = fresh_tensors(self.graph, [name for name in self.targets if name not in known], self.seed, known)
        return {name: fresh.get(name) or known[name] for name in self.targets}


def plan_import(
    weights: Path,
    into: Path,
    *,
    rules: list[Rule] | None = None,
    lenient: bool = False,
    cast: bool = False,
    bake: bool = False,
    seed: int = 42,
    scope: str = "",
    reference: "Path | checkpoint.Checkpoint | None" = None,
    tolerance: float = TOLERANCE,
    allow_op: Collection[str] = (),
    to: str | None = None,
    preprocess: str | None = None,
    output: Path | None = None,
) -> "ImportPlan | FillPlan":
    """Plan what `import` writes; nothing is written before the plan's `write`.

    Args:
        weights: A file of another framework, or a checkpoint.
        into: The graph to fill, with the checkpoint beside it, if any; or a checkpoint without a graph.
        rules: Which tensor becomes which variable, if names differ; the first matching rule applies.
        lenient: Whether to skip tensors without a variable; other weights keep the model's value or a new one.
        cast: Whether to cast values to the graph's dtypes.
        bake: Whether to write the values into the graph's initialisers too.
        seed: The random seed of newly initialised variables.
        scope: The scope in the graph into which all tensors are imported.
        reference: Inputs and outputs of the source, which the output must reproduce; if a layout is ambiguous, the
            graph is run with each.
        tolerance: The tolerance against the reference, relative to the largest value.
        allow_op: Types of ops that may run although they can have side effects.
        to: The family to write: `ckpt`, `saved-model`, `keras`; else that of the output's path, or of the graph.
        preprocess: The preprocessing of rows (`scale(1/127.5, -1)`), if not the one stored in the source's graph.
        output: The output; a Keras file's network is built if the output has another form.

    Raises:
        MissingFile: the weights do not exist, or there is neither a graph nor a checkpoint.
        UnknownName: a rule matches nothing.
        PlanError: names, shapes or dtypes do not match.
        DataError: the reference has no inputs or no outputs.
    """
    asked = {"reference": reference, "bake": bake, "preprocess": preprocess}
    needed = next((name for name, value in asked.items() if value), None)
    into, target = Path(into), Path(output or into)
    other_form = family_of(into, target, to) != "keras" or target.suffix != into.suffix
    graph, values, is_graph = graph_to_fill(into, computes=needed is not None or other_form)
    graph, source = graph.allowing(allow_op), open_checkpoint(weights)
    if not is_graph and needed:
        raise PlanError(f"{into} is a checkpoint without a graph: `{needed}` needs one")
    alone = None if is_graph else values
    paired = pair_weights(
        source, graph, rules or [], scope=scope, lenient=lenient, cast=cast, tried=reference is not None, held=alone
    )
    if alone is not None:
        return FillPlan.of(paired, alone, _notes(paired, alone, into, []))
    graph, changed = with_preprocessed_inputs(graph, preprocess, _kept_with(weights) if preprocess is None else None)
    made_of = Provenance.joined(graph.provenance, source.provenance, values.provenance)
    known = stored_tensors(graph)
    own = {name: tensor for name, tensor in values.items() if name in known}
    beyond = [name for name in values if name not in known and not name.startswith(BESIDE_VALUES)]
    fresh = [name for name in known if name not in own and name not in paired.sources]
    notes = (*_notes(paired, own, into, beyond), *file_notes(graph, fresh), *changed)
    plan = ImportPlan(graph, paired, own, into, seed, bake, notes, made_of, to)
    plan = replace(plan, notes=(*plan.notes, *_about_epsilons(plan.epsilons)))
    if reference is None:
        return replace(plan, notes=(*plan.notes, *plan.row_epsilons))
    return _proved(plan, ReferenceProof(reference, tolerance))


def _kept_with(weights: Path) -> Graph | None:
    """Return the graph beside the weights, which may store preprocessing; None if there is none that can be read."""
    with suppress(CkptError):
        return graph_that_keeps(Path(weights))
    return None


def _about_epsilons(found: Sequence[EpsilonGap]) -> Iterator[str]:
    """Return notes on epsilons that differ, and on how that is compensated."""
    for layout in dict.fromkeys(gap.layout for gap in found):
        names = [layer_by_role(gap.variance) for gap in found if gap.layout == layout]
        yield from notes_about(f"{layout.difference}; `suggest` drafts rules that make up for it", names)


def _proved(plan: ImportPlan, proof: ReferenceProof) -> ImportPlan:
    """Return the plan with a proof, and with the layouts determined by its reference, and notes on these."""
    reference = proof.arrays
    feeds_and_outputs(plan.graph, reference)
    plan = replace(plan, proof=proof)
    if not any(pair.others for pair in plan.pairing.pairs):
        return plan
    pairing = settle(plan.pairing, plan.graph, Reference(plan.graph, plan.tensors(), reference), proof.tolerance)
    notes = [
        f"{pair.targets[0]}: {pair.layout}, as the reference tells"
        for pair, before in zip(pairing.pairs, plan.pairing.pairs, strict=True)
        if before.others
    ]
    return replace(plan, pairing=pairing, notes=(*plan.notes, *notes))


def _notes(paired: Pairing, own: Mapping[str, Tensor], model: Path, beyond: list[str]) -> list[str]:
    """Return notes: what is not imported, what is not in the output, and which weights keep or get another value."""
    return [
        *notes_about("computed", map(str, paired.computed.values()), most=1),
        *notes_about("contradicted", paired.contradicted, most=1),
        *notes_about("skipped", paired.left_out, most=1),
        *notes_about("not weights, or excluded by a rule", paired.dropped),
        *notes_about(f"kept from {model}", (name for name in paired.unfilled if name in own)),
        *notes_about("fresh, by their initialisers", (name for name in paired.unfilled if name not in own)),
        *notes_about("not in the graph, so not written", beyond),
    ]
