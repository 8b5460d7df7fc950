"""Which tensors become which variables: paired by name after the rules, held against the graph's shapes and dtypes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.casting import cast_tensor
from ckpttool.core.errors import PlanError
from ckpttool.core.names import suggestion
from ckpttool.core.tensors import Tensor
from ckpttool.foreign.fitting import Fitting, Pair
from ckpttool.foreign.rules import Move, Rule, moves
from ckpttool.foreign.transformed import applied
from ckpttool.graph.contents.stored import StoredTensor
from ckpttool.graph.core import Graph


@dataclass(frozen=True)
class Pairing:
    """What of a file becomes which of the graph's variables, and what finds no counterpart.

    `left_out` says what of the file is not imported and why, `dropped` what the rules or the file's kind leave out, and
    training state that the graph has no variable for; `unfilled` has the weights that get no value. `copies` are pairs
    that an import leaves out and an export writes.
    """

    weights: Checkpoint
    wanted: Mapping[str, StoredTensor]
    pairs: tuple[Pair, ...]
    left_out: tuple[str, ...]
    dropped: tuple[str, ...]
    unfilled: tuple[str, ...]
    copies: tuple[Pair, ...] = ()

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors to import under the variables' names, read and brought into their layout when asked."""
        made = (
            tensor
            for pair in self.pairs
            for tensor in applied(pair.layout, [self.weights[name] for name in pair.sources], pair.targets)
        )
        return {tensor.name: cast_tensor(tensor, self.wanted[tensor.name].dtype) for tensor in made}

    @cached_property
    def sources(self) -> dict[str, str]:
        """Where each variable's value is from: the names in the file, and the layout that is not plain `keep`."""
        return {target: pair.described(pair.sources) for pair in self.pairs for target in pair.targets}


def pair(
    weights: Checkpoint,
    graph: Graph,
    rules: Sequence[Rule] = (),
    scope: str = "",
    lenient: bool = False,
    cast: bool = False,
    tried: bool = False,
) -> Pairing:
    """Pair a file's tensors with the variables of a graph; no value is read.

    With `scope` every new name is put below that prefix of the graph's names. Without `lenient` every tensor must find
    its variable, and every weight its tensor. With `cast` numbers may change their dtype. What shapes leave open is
    `tried` later.

    Raises:
        UnknownName: a rule was used for nothing.
        PlanError: two tensors would get one name, a tensor or a weight has no counterpart, a shape or a dtype differs.
    """
    fitting = Fitting(weights, graph, cast, tried)
    named = [_below(scope, move) for move in moves(weights, rules)]
    dropped = {move for move in named if not move.targets or move.copy or _is_state(move, fitting)}
    wanted = [move for move in named if move not in dropped]
    pairs, left_out = _fitted(fitting, wanted)
    filled = {target for pair in pairs for target in pair.targets}
    unfilled = [name for name, target in fitting.wanted.items() if target.kind == "weight" and name not in filled]
    if not lenient:
        candidates = {target for move in wanted for target in move.targets}
        _refuse(fitting, left_out, [name for name in unfilled if name not in candidates], candidates)
    if not pairs:
        raise PlanError(f"nothing of {fitting.path} fits {graph.source}: {left_out[0] if left_out else 'it is empty'}")
    skipped = (*(name for move in named if move in dropped for name in move.sources), *weights.left_out)
    copies, _ = _fitted(fitting, [move for move in named if move.copy])
    return Pairing(weights, fitting.wanted, tuple(pairs), tuple(left_out), skipped, tuple(unfilled), tuple(copies))


def _below(scope: str, move: Move) -> Move:
    prefix = f"{scope.rstrip('/')}/" if scope else ""
    return replace(move, targets=tuple(prefix + name for name in move.targets))


def _is_state(move: Move, fitting: Fitting) -> bool:
    """Say whether tensors are training state of a name that the graph lacks: no misfit, as nobody wants it there."""
    kinds = fitting.kinds
    return all(kinds[name] != "weight" for name in move.sources) and not fitting.wanted.keys() & {*move.targets}


def _fitted(fitting: Fitting, named: Sequence[Move]) -> tuple[list[Pair], list[str]]:
    """Return the pairs that fit, and what is wrong with the others."""
    pairs, problems = [], []
    for move in named:
        try:
            pairs.append(fitting.pair(move))
        except PlanError as problem:
            problems.append(str(problem))
    return pairs, problems


def _refuse(fitting: Fitting, left_out: Sequence[str], unfilled: Sequence[str], candidates: set[str]) -> None:
    """Raise where something has no counterpart: the first problem in full, how many more there are, what helps."""
    count = len(left_out) + len(unfilled)
    if count:
        first = left_out[0] if left_out else _unfilled(fitting, unfilled[0], candidates)
        more = f" (and {count - 1} more)" if count > 1 else ""
        rules = "a rule gives another name ('RE=>NEW') or leaves out ('RE=>'), and `import --suggest` drafts rules"
        raise PlanError(f"{first}{more}; --lenient goes on without, {rules}")


def _unfilled(fitting: Fitting, name: str, candidates: set[str]) -> str:
    graph = Path(fitting.graph.source).name
    return f"{fitting.path.name}: nothing for {name} of {graph}{suggestion(name, candidates)}"
