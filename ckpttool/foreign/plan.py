"""Which tensor becomes which variable: paired by name after the rules, held against the graph's shapes and dtypes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckpttool.casting import cast_tensor
from ckpttool.checkpoint import Checkpoint
from ckpttool.errors import PlanError
from ckpttool.foreign.rules import Rule, rename
from ckpttool.graph.graph import Graph
from ckpttool.graph.stored import StoredTensor, stored_tensors
from ckpttool.selection import suggestion
from ckpttool.tensors import Tensor


@dataclass(frozen=True)
class Pairing:
    """The tensors to import under the names of the graph's variables, and what finds no counterpart.

    `sources` has the name that each tensor has in its file; `left_out` says what of the file is not imported and why,
    `dropped` what the rules or the file's kind leave out, and training state that the graph has no variable for;
    `unfilled` has the weights that get no value.
    """

    tensors: Mapping[str, Tensor]
    sources: Mapping[str, str]
    left_out: tuple[str, ...]
    dropped: tuple[str, ...]
    unfilled: tuple[str, ...]


def pair(
    weights: Checkpoint,
    graph: Graph,
    rules: Sequence[Rule] = (),
    scope: str = "",
    lenient: bool = False,
    cast: bool = False,
) -> Pairing:
    """Pair a file's tensors with the variables of a graph.

    With `scope` every new name is put below that prefix of the graph's names. Without `lenient` every tensor must find
    its variable, and every weight its tensor. With `cast` numbers may change their dtype.

    Raises:
        UnknownName: a rule was used for nothing.
        PlanError: two tensors would get one name, a tensor or a weight has no counterpart, a shape or a dtype differs.
    """
    wanted = stored_tensors(graph)
    named = rename(weights, rules)
    prefix = f"{scope.rstrip('/')}/" if scope else ""
    kinds = weights.kinds()
    # A source's training state is no misfit where the graph has none of that name: nobody wants it there.
    skipped = {old for old, new in named.items() if kinds[old] != "weight" and prefix + new not in wanted}
    candidates = {prefix + new: old for old, new in named.items() if new and old not in skipped}
    problems = {new: _misfit(weights, old, new, wanted, graph, cast) for new, old in candidates.items()}
    fitting = {new: old for new, old in candidates.items() if problems[new] is None}
    unfilled = tuple(name for name, target in wanted.items() if target.kind == "weight" and name not in fitting)
    left_out = tuple(problem for problem in problems.values() if problem)
    if not lenient:
        _refuse(_path(weights), graph, left_out, unfilled, candidates)
    if not fitting:
        raise PlanError(
            f"nothing of {_path(weights)} fits {graph.source}: {left_out[0] if left_out else 'it is empty'}"
        )
    tensors = {new: cast_tensor(weights[old].renamed(new), wanted[new].dtype) for new, old in fitting.items()}
    dropped = (*(old for old, new in named.items() if not new or old in skipped), *weights.left_out)
    return Pairing(tensors, fitting, left_out, dropped, unfilled)


def _path(weights: Checkpoint) -> Path:
    return weights.path or Path("the weights")


def _misfit(
    weights: Checkpoint, old: str, new: str, wanted: Mapping[str, StoredTensor], graph: Graph, cast: bool
) -> str | None:
    """Say why a tensor cannot become the variable of its new name, or None when it can."""
    tensor, target = weights[old], wanted.get(new)
    file, source = _path(weights).name, Path(graph.source).name
    if target is None:
        became = "" if old == new else f" ({new})"
        return f"{file}: {old}{became} is no variable of {source}{suggestion(new, wanted)}"
    if target.shape is not None and tensor.shape != target.shape:
        return f"{file}: {old} is {list(tensor.shape)}, {new} in {source} is {list(target.shape)}"
    if tensor.dtype is target.dtype or (cast and _castable(tensor, target)):
        return None
    hint = "; --cast changes it" if _castable(tensor, target) else ""
    return f"{file}: {old} is {tensor.dtype}, {new} in {source} is {target.dtype}{hint}"


def _castable(tensor: Tensor, target: StoredTensor) -> bool:
    """Say whether both are plain numbers."""
    numbers = ("float", "int", "uint", "bfloat")
    return all(dtype.name.rstrip("0123456789").startswith(numbers) for dtype in (tensor.dtype, target.dtype))


def _refuse(
    path: Path, graph: Graph, left_out: Sequence[str], unfilled: Sequence[str], candidates: Mapping[str, str]
) -> None:
    """Raise where something has no counterpart: the first problem in full, how many more there are, what helps."""
    misfits = [*left_out, *_unfilled(path, graph, [name for name in unfilled if name not in candidates], candidates)]
    if misfits:
        more = f" (and {len(misfits) - 1} more)" if len(misfits) > 1 else ""
        raise PlanError(f"{misfits[0]}{more}; --lenient goes on without, a rule ('RE=>NEW') gives another name")


def _unfilled(path: Path, graph: Graph, names: Sequence[str], candidates: Mapping[str, str]) -> Iterator[str]:
    source = Path(graph.source).name
    return (f"{path.name}: nothing for {name} of {source}{suggestion(name, candidates)}" for name in names)
