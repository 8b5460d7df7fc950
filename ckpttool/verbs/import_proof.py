"""The proof of an import: the output computes the same as the source; if not, the cause."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError
from ckpttool.core.names import listed
from ckpttool.core.tensors import TOLERANCE, Array, Tensor
from ckpttool.foreign.epsilons import EpsilonGap
from ckpttool.foreign.fitting import Pair
from ckpttool.foreign.names import layer_by_role
from ckpttool.graph.core import Graph
from ckpttool.layouts.norm import BatchNorm
from ckpttool.model.model import Model
from ckpttool.verbs.reference import Difference, Reference


class ReferenceDiffers(CkptError):
    """A graph does not reproduce a reference; `lines` say where it differs and, if known, why."""

    def __init__(self, *lines: str) -> None:
        """Take the lines."""
        super().__init__("; ".join(lines))
        self.lines = lines


def _unseen(differences: Sequence[Difference]) -> None:
    """Show nothing."""


@dataclass(frozen=True)
class ReferenceProof:
    """Rows and the source's outputs for them; `shown` receives the difference of each tensor before the verdict."""

    reference: Path | checkpoint.Checkpoint
    tolerance: float = TOLERANCE
    shown: Callable[[Sequence[Difference]], None] = _unseen

    @property
    def arrays(self) -> checkpoint.Checkpoint:
        """The reference's arrays by name."""
        return checkpoint.open(self.reference) if isinstance(self.reference, Path) else self.reference

    def of(self, model: Model, epsilons: Sequence[EpsilonGap], pairs: Iterable[Pair]) -> str:
        """Run a model, and check that it computes the same; `epsilons` and `pairs` are those of the import.

        Raises:
            ReferenceDiffers: if it does not.
            CkptError: if the model cannot be run on the reference.
        """
        reference = self.arrays
        differences = Reference(model.graph, model.checkpoint, reference).differences(self.tolerance)
        self.shown(differences)
        wrong = next((difference for difference in differences if not difference.equal), None)
        if wrong is None:
            largest = max(difference.relative for difference in differences)
            equal = counted(len(differences), "tensor equals", "tensors equal")
            return f"checked: {equal} the reference's to {largest:.1e} of the largest number"
        cause = self._epsilon_cause(model.graph, model.checkpoint, reference, epsilons, pairs)
        where = f"at {wrong.name}" if cause else f"from {wrong.name} on"
        apart = f"{wrong.relative:.1e} of the largest number apart, expected at most {self.tolerance:.1e}"
        raise ReferenceDiffers(f"wrong {where} ({wrong.tensor}): {apart}", *([cause] if cause else []))

    def _epsilon_cause(
        self,
        graph: Graph,
        values: Mapping[str, Tensor],
        reference: Mapping[str, Tensor],
        epsilons: Sequence[EpsilonGap],
        pairs: Iterable[Pair],
    ) -> str | None:
        """Return how the epsilons of batch normalisations explain the difference; None if they do not.

        The graph is run with corrections for the differences `epsilons`, or if there are none, without the corrections
        that the import made to `pairs`.
        """
        folded = [pair for pair in pairs if isinstance(pair.layout, BatchNorm)]
        if not epsilons and not folded:
            return None
        run = Reference(graph, values, reference)
        before = max(difference.relative for difference in run.differences(self.tolerance))
        for gap in epsilons:
            _set(run, gap.targets, gap.layout.apply([values[name].read() for name in gap.targets]))
        for pair in folded if not epsilons else ():
            _set(run, pair.targets, pair.layout.invert([values[name].read() for name in pair.targets]))
        after = run.differences(self.tolerance)
        largest = max(difference.relative for difference in after)
        is_all = all(difference.equal for difference in after)
        if not is_all and not largest < before / 2:  # also if one is NaN
            return None
        why = "which is why" if is_all else "which is a part of it"
        if not epsilons:
            same = "the source's batch normalisations have the graph's epsilon"
            return f"{same}, {why}: transform = 'keep' leaves {largest:.1e}"
        layout, names = epsilons[0].layout, listed([layer_by_role(gap.variance) for gap in epsilons], most=3)
        rule = f"transform = '{layout}' in a rule for gamma and variance, as `suggest` drafts it, leaves {largest:.1e}"
        return f"{layout.difference} ({names}), {why}: {rule}"


def _set(run: Reference, names: Sequence[str], arrays: Sequence[Array]) -> None:
    for name, array in zip(names, arrays, strict=True):
        run.set(name, array)
