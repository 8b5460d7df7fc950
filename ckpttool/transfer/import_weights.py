"""Import: weights of another framework become the values of a graph's variables, through its assign nodes."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ckpttool import checkpoint
from ckpttool.errors import CkptError, CorruptCheckpoint, MissingFile
from ckpttool.foreign.bake import bake, check_size
from ckpttool.foreign.plan import Pairing, Target, pair, targets
from ckpttool.foreign.rules import Rule
from ckpttool.foreign.weights import open_weights
from ckpttool.formats.files import refuse_existing
from ckpttool.graph import files
from ckpttool.graph.graph import Graph
from ckpttool.surgery.verify import changed_tensors
from ckpttool.tensors import Array, Tensor
from ckpttool.transfer.model import outputs_of
from ckpttool.transfer.plan import PlanRow, layer_of


@dataclass(frozen=True)
class Import:
    """What an import will write: the graph, the paired tensors, the model's own values for the rest, or fresh ones."""

    graph: Graph
    pairing: Pairing
    own: Mapping[str, Tensor]
    model: Path
    seed: int
    notes: tuple[str, ...]

    @cached_property
    def targets(self) -> dict[str, Target]:
        """What the graph's checkpoint holds, by name."""
        return targets(self.graph)

    @property
    def rows(self) -> list[PlanRow]:
        """The plan, a row per weight; what keeps the model's value says so by the model's name."""
        weights = (target for target in self.targets.values() if target.is_weight)
        return [
            PlanRow(
                layer_of(target.name),
                target.name,
                target.shape or (),
                self._source(target.name),
                any(member.trainable for member in target.members),
            )
            for target in weights
        ]

    def check(self, output: Path, overwrite: bool = False, baked: bool = False) -> None:
        """Check what can be checked before anything is read or written.

        Raises:
            ExistingOutput: the output is there already.
            PlanError: the values do not fit into a graph.
        """
        refuse_existing(outputs_of(output), overwrite)
        if baked:
            check_size(self.graph, self.pairing.tensors)

    def write(self, output: Path, overwrite: bool = False, baked: bool = False) -> None:
        """Write graph and checkpoint under a prefix, read both again and compare; `baked` puts the values into both.

        Raises:
            CkptError: `check` finds something, or a value cannot be read.
            CorruptCheckpoint: what was read back differs.
        """
        self.check(output, overwrite, baked)
        graph = bake(self.graph, self.pairing.tensors) if baked else self.graph
        tensors = self._tensors()
        checkpoint.save(tensors, output, format="bundle", overwrite=overwrite)
        files.save(graph, Path(f"{output}.meta"), overwrite=overwrite)
        self._prove(output, tensors, graph)

    def _source(self, name: str) -> str | None:
        if name in self.pairing.sources:
            return self.pairing.sources[name]
        return f"{self.model}:{name}" if name in self.own else None

    def _tensors(self) -> dict[str, Tensor]:
        """Return every tensor that the graph's checkpoint holds: imported, the model's own, or fresh."""
        fresh = [name for name in self.targets if name not in self.pairing.tensors and name not in self.own]
        values = fresh_tensors(self.graph, [self.targets[name] for name in fresh], self.seed) if fresh else {}
        known = {**self.own, **values, **self.pairing.tensors}
        return {name: known[name] for name in self.targets}

    def _prove(self, output: Path, tensors: Mapping[str, Tensor], graph: Graph) -> None:
        """Compare what was written with what should be there, byte by byte."""
        changed = changed_tensors(tensors, checkpoint.open(output), list(tensors))
        if changed or files.load(f"{output}.meta").meta != graph.meta:
            what = f"{changed[0]} differs" if changed else "the graph differs"
            raise CorruptCheckpoint(f"{output}: {what} from what was imported, when read back")


def plan_import(
    weights: Path,
    into: Path,
    rules: list[Rule] | None = None,
    lenient: bool = False,
    cast: bool = False,
    seed: int = 42,
) -> Import:
    """Plan what `import` writes; nothing is written before the plan's `write`.

    Raises:
        MissingFile: there is no file of weights, or no graph.
        UnknownName: a rule was used for nothing.
        PlanError: something does not fit.
    """
    graph = files.load(into)
    paired = pair(open_weights(weights), graph, rules or [], lenient, cast)
    values = _own_values(into)
    known = targets(graph)
    own = {name: tensor for name, tensor in values.items() if name in known}
    beyond = [name for name in values if name not in known]
    return Import(graph, paired, own, into, seed, tuple(_notes(paired, own, into, beyond)))


def fresh_tensors(graph: Graph, wanted: list[Target], seed: int) -> dict[str, Tensor]:
    """Run the initialisers of variables; the slices of one variable are joined.

    Raises:
        GraphError: one has no initialiser.
        MissingDependency: TensorFlow, which runs them, is not installed.
    """
    from ckpttool.runtime.fresh import fresh_values

    keys = {target.name: _keys(target) for target in wanted}
    values = fresh_values(graph, [key for of in keys.values() for key in of], seed)
    return {target.name: Tensor.of(target.name, _joined(target, values), target.dtype) for target in wanted}


def _keys(target: Target) -> list[str]:
    """Return the names under which `variables` has a target's members: a slice is named by its op."""
    return [member.name if member.slice_offset is None else member.op for member in target.members]


def _joined(target: Target, values: Mapping[str, Array]) -> Array:
    """Put slices together."""
    parts = dict(zip(_keys(target), target.members, strict=True))
    if target.members[0].slice_offset is None or target.shape is None:
        return values[target.name]
    whole = np.empty(target.shape, target.dtype.numpy)
    for key, member in parts.items():
        ends = zip(member.slice_offset or (), member.shape or (), strict=True)
        whole[tuple(slice(start, start + size) for start, size in ends)] = values[key]
    return whole


def _own_values(model: Path) -> Mapping[str, Tensor]:
    """Return the values of the model's checkpoint, none where it is a graph alone."""
    try:
        return checkpoint.open(model)
    except MissingFile:
        return {}
    except CkptError:
        if model.is_file() and model.suffix in (".meta", ".pb", ".pbtxt"):
            return {}
        raise


def _notes(paired: Pairing, own: Mapping[str, Tensor], model: Path, beyond: list[str]) -> list[str]:
    """Say what is not imported, what is not in the output, and which weights keep or get another value."""
    notes = [f"left out: {problem}" for problem in paired.left_out]
    if paired.dropped:
        notes.append(f"not weights, or left out by a rule: {_few(list(paired.dropped))}")
    kept = [name for name in paired.unfilled if name in own]
    fresh = [name for name in paired.unfilled if name not in own]
    if kept:
        notes.append(f"kept from {model}: {_few(kept)}")
    if fresh:
        notes.append(f"fresh, by their initialisers: {_few(fresh)}")
    if beyond:
        notes.append(f"not in the graph, so not written: {_few(beyond)}")
    return notes


def _few(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
