"""Pairs tensors with variables by name, after applying rules, and reports everything without a counterpart."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.casting import cast_tensor
from ckpttool.core.errors import PlanError
from ckpttool.core.names import listed
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Tensor
from ckpttool.foreign.fitting import Fitting, Pair
from ckpttool.foreign.parametrised import resolved
from ckpttool.foreign.rules import Rule, moves
from ckpttool.formats.tensorflow.object_graph import EXPORTED_TWICE
from ckpttool.graph.contents.stored import StoredTensor
from ckpttool.graph.core import Graph
from ckpttool.layouts.parts import Parametrised


@dataclass(frozen=True)
class Pairing:
    """The pairs of a file's tensors with the graph's variables, and everything without a counterpart.

    `weights` are the `file`'s tensors, in which weights replace their parts (`computed`). `left_out` describes tensors
    that are not imported, with reasons; `dropped` are those that the rules or the format exclude, and training state
    without a variable in the graph; `unfilled` are weights without a value. `copies` are pairs that an import skips and
    an export writes; `contradicted` describes tensors for which the rules contradict the file's own ops.
    """

    file: Checkpoint
    weights: Checkpoint
    wanted: Mapping[str, StoredTensor]
    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...]
    dropped: tuple[str, ...]
    unfilled: tuple[str, ...]
    copies: tuple[Pair, ...] = ()
    computed: Mapping[str, Parametrised] = field(default_factory=dict)
    contradicted: tuple[str, ...] = ()

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors to import under the variables' names, read and converted on demand."""
        made = (
            tensor
            for pair in self.pairs
            for tensor in pair.layout.applied([self.weights[name] for name in pair.sources], pair.targets)
        )
        return {tensor.name: cast_tensor(tensor, self.wanted[tensor.name].dtype) for tensor in made}

    def exported(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the file's tensors with the values of the variables, converted when they are read.

        Copies in the file are included; tensors without a counterpart are not.
        """
        made = {
            tensor.name: cast_tensor(tensor, self.weights[tensor.name].dtype)
            for each in [*self.pairs, *self.copies]
            for tensor in each.layout.inverted([values[name] for name in each.targets], each.sources)
        }
        for whole in (self.computed[name] for name in [*made] if name in self.computed):
            made |= {part.name: part for part in whole.layout.inverted([made[whole.name]], whole.parts)}
        return made

    def exported_from(self) -> dict[str, str]:
        """Return for each of the file's tensors a description of its export: the variables, and the layout."""
        found: dict[str, str] = {}
        for pair in [*self.pairs, *self.copies]:
            for name in pair.sources:
                parts: Iterable[str] = self.computed[name].parts if name in self.computed else (name,)
                found |= dict.fromkeys(parts, pair.described(pair.targets))
        return found

    @cached_property
    def sources(self) -> dict[str, str]:
        """The origin of each variable's value: the names in the file, and the layout unless it is `keep`."""
        return {target: pair.described(pair.sources) for pair in self.pairs for target in pair.targets}


def pair_weights(
    weights: Checkpoint,
    graph: Graph,
    rules: Sequence[Rule] = (),
    *,
    scope: str = "",
    lenient: bool = False,
    cast: bool = False,
    tried: bool = False,
    held: Checkpoint | None = None,
) -> Pairing:
    """Pair a file's tensors with the variables of a graph, or with the tensors of a checkpoint `held`; none is read.

    `scope` is prepended to every new name. Without `lenient`, every tensor must have a variable, and every weight a
    tensor. With `cast`, numbers may change their dtype. With `tried`, ambiguous layouts will be tried later.

    Raises:
        UnknownName: a rule matches nothing.
        PlanError: two tensors would have the same name, a tensor or weight has no counterpart, or a shape or dtype
            differs.
    """
    file = resolved(without_copies(weights, held or ()), rules)
    weights = file.weights
    prefix = f"{scope.rstrip('/')}/" if scope else ""
    named = [replace(move, targets=tuple(prefix + name for name in move.targets)) for move in moves(weights, rules)]
    fitting = Fitting(file, graph, tuple(named), cast, tried, held)
    dropped = {move for move in named if not move.targets or move.copy or fitting.is_state(move)}
    wanted = [move for move in named if move not in dropped]
    pairs, left_out = fitting.pairs(wanted)
    filled = {target for pair in pairs for target in pair.targets}
    unfilled = [name for name, target in fitting.wanted.items() if target.kind == "weight" and name not in filled]
    if not lenient:
        named_targets = {target for move in wanted for target in move.targets}
        _refuse(fitting, left_out, [name for name in unfilled if name not in named_targets], named_targets)
    if not pairs:
        why = left_out or [f"not read from it: {listed(weights.left_out, 3)}" if weights.left_out else "it is empty"]
        raise PlanError(f"nothing of {fitting.path} fits {graph.source}: {why[0]}")
    skipped = (*(name for move in named if move in dropped for name in move.sources), *weights.left_out)
    copies, _ = fitting.pairs([move for move in named if move.copy])
    parts = (tuple(pairs), tuple(left_out), skipped, tuple(unfilled), tuple(copies))
    used = {pair.sources[0]: pair.layout for pair in pairs if len(pair.sources) == 1}
    return Pairing(
        file.source, file.laid_out(used), fitting.wanted, *parts, file.made, tuple(fitting.contradicted(pairs))
    )


def without_copies(weights: Checkpoint, held: Iterable[str] = ()) -> Checkpoint:
    """Return the tensors without the duplicates in Keras 3's exports, unless `held` has these, too."""
    if any(name.startswith(EXPORTED_TWICE) for name in held):
        return weights
    kept = [name for name in weights if not name.startswith(EXPORTED_TWICE)]
    return weights.only({*kept}) if kept and len(kept) < len(weights) else weights


def _refuse(fitting: Fitting, left_out: Sequence[str], unfilled: Sequence[str], candidates: set[str]) -> None:
    """Raise an error if something has no counterpart, with the first problem, the number of others, and the remedy."""
    count = len(left_out) + len(unfilled)
    if not count:
        return
    first = left_out[0] if left_out else ""
    if not left_out:
        unread = f"; not read from it: {listed(fitting.weights.left_out, 3)}" if fitting.weights.left_out else ""
        missing = f"nothing for {unfilled[0]} of {fitting.graph_name}{suggestion(unfilled[0], candidates)}{unread}"
        first = f"{fitting.path.name}: {missing}"
    more = f" (and {count - 1} more)" if count > 1 else ""
    rules = "a rule renames ('RE=>NEW') or excludes ('RE=>'), and `import` with `suggest` drafts rules"
    raise PlanError(f"{first}{more}; `lenient` continues without, {rules}")
