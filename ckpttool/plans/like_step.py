"""The `like` step of a plan: converts a checkpoint to the names, shapes and layouts of another framework."""

from collections.abc import Mapping
from typing import ClassVar

from ckpttool.core.errors import PlanError
from ckpttool.lineage.derivation import AS, ON
from ckpttool.plans.script import Entry
from ckpttool.plans.step import TEXT, TRUTH, PlanState, PlanStep, Taken
from ckpttool.surgery.edits.steps import Edited


class LikeStep(PlanStep):
    """Conversion to the names and layouts of a checkpoint of the same network, as by `convert` with `like`."""

    keys: ClassVar[Mapping[str, tuple[type, ...]]] = {"like": TEXT, "lenient": TRUTH}

    def apply(self, entry: Entry, state: PlanState) -> Taken:
        """Convert the checkpoint; the result replaces it, unless `as` names it."""
        on, name = entry.table.get(ON, state.current), entry.table["like"]
        other = state.edited(name).tensors
        if other.path is None or other.provenance.edits:
            raise PlanError(f"`like` {name} is not a source as it was opened, with a file whose network could be read")
        from ckpttool.model.across import across  # imports graphs, which most plans do not need

        filled = across(state.edited(on).tensors, other, other.path, entry.table.get("lenient", False))
        tensors = filled.tensors.holding(dict(filled.tensors))
        noted = tensors.made_of(tensors.provenance.noting(f"like {name}"))
        done = {each: (f"like {name}",) if each in filled.sources else () for each in noted}
        state.notes += filled.notes
        state.put(entry.table.get(AS, on), Edited(noted, done), state.begun[name])
        return Taken(f"like {name}", on, tuple(each for each in noted if each in filled.sources))
