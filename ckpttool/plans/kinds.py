"""The table of the kinds of steps."""

from collections.abc import Mapping

from ckpttool.core.errors import FormatError
from ckpttool.core.names import listed
from ckpttool.core.suggestions import suggestion
from ckpttool.plans.assert_step import AssertStep
from ckpttool.plans.checkpoint_steps import AverageStep, EditStep, MergeStep, edits_of
from ckpttool.plans.like_step import LikeStep
from ckpttool.plans.script import LOOP, Entry
from ckpttool.plans.step import PlanStep
from ckpttool.surgery.edits import EDITS

KINDS: Mapping[str, PlanStep] = {
    "edit": EditStep(),
    "merge": MergeStep(),
    "average": AverageStep(),
    "assert": AssertStep(),
    "like": LikeStep(),
}
"""The kinds of steps by the key that identifies them; an edit is identified by its own name instead of `edit`."""


def kind_of(entry: Entry) -> PlanStep:
    """Return the kind of a step, after checking its keys.

    Raises:
        FormatError: the table is not a step, or specifies several.
        UnknownName: a key is unknown.
    """
    others = [key for key in entry.table if key in KINDS and key != "edit"]
    own = {key for other in others for key in KINDS[other].keys}  # `scale` is an edit, and a parameter of merges
    keys = [*(key for key in edits_of(entry) if key not in own), *others]
    if len(keys) != 1:
        given = " and ".join(keys) or listed(list(entry.table)) or "nothing"
        near = "" if keys else suggestion(next(iter(entry.table), ""), [*EDITS, *KINDS])
        raise FormatError(f"{entry.place}: expected one edit, merge, average, assert or like, found {given}{near}")
    kind = KINDS.get(keys[0], KINDS["edit"])
    kind.check(Entry({key: value for key, value in entry.table.items() if key != LOOP}, entry.place))
    return kind
