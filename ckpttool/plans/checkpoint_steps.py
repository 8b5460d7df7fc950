"""The steps of a plan that create a checkpoint: edits, merges and averages."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import FormatError
from ckpttool.lineage.derivation import AS, ON
from ckpttool.plans.script import Entry
from ckpttool.plans.step import LIST, NUMBER, TEXT, TRUTH, PlanState, PlanStep, Taken, numbers_of, texts_of
from ckpttool.surgery.average import plan_average
from ckpttool.surgery.edits import EDITS
from ckpttool.surgery.edits.steps import Step
from ckpttool.surgery.merge import plan_merge
from ckpttool.surgery.merging.agreement import JoinedCheckpoints
from ckpttool.surgery.merging.vocabulary import Vocabulary


class EditStep(PlanStep):
    """An edit of a checkpoint, by its name in `EDITS`, with hyphens or underscores."""

    keys: ClassVar[Mapping[str, tuple[type, ...]]] = {
        **dict.fromkeys(EDITS, (str, bool)),
        **{name.replace("-", "_"): (str, bool) for name in EDITS},
        "slots": TRUTH,
        "allow_truncate": TRUTH,
        "seed": (int,),
    }

    def apply(self, entry: Entry, state: PlanState) -> Taken:
        """Edit the checkpoint that `on` names, else the current one."""
        key = next(iter(edits_of(entry)))
        value, on = entry.table[key], entry.table.get(ON, state.current)
        if value is False:
            raise FormatError(f"{entry.place}: {key} is false, expected text, or true for an edit without a value")
        step = Step(key.replace("_", "-"), "" if value is True else value, entry.place)
        before = state.edited(on)
        after = before.then(step, entry.table)
        state.put(entry.table.get(AS, on), after, state.begun[on], state.vocabularies.get(on))
        changed = [name for name, tensor in after.tensors.items() if before.tensors.get(name) is not tensor]
        return Taken(str(step), on, (*changed, *(name for name in after.dropped if name not in before.dropped)))


class _JoinStep(PlanStep):
    """A step that makes one checkpoint of several; `key` lists their names, and the other keys are options."""

    key: ClassVar[str]

    @abstractmethod
    def joined(self, sources: Sequence[Checkpoint], entry: Entry, state: PlanState) -> JoinedCheckpoints:
        """Return the checkpoint made of the sources, by the options of the entry."""

    def shown(self, entry: Entry) -> str:
        """Return the displayed options; by default, none."""
        del entry
        return ""

    def apply(self, entry: Entry, state: PlanState) -> Taken:
        """Join the checkpoints; the result replaces the last one, unless `as` names it."""
        names = texts_of(entry, self.key)
        joined = self.joined([state.edited(name).tensors for name in names], entry, state)
        shown = self.shown(entry)
        state.join(entry.table.get(AS, names[-1]), joined, f"{self.key} {','.join(names)} {shown}".strip())
        return Taken(f"{self.key} {shown}".strip(), ", ".join(names), tuple(joined.tensors))

    def options(self, entry: Entry) -> dict[str, Any]:
        """Return the options of a table, with lists of numbers as tuples."""
        given = {key: value for key, value in entry.table.items() if key not in (self.key, ON, AS)}
        return {key: numbers_of(entry, key) if key == "weights" else value for key, value in given.items()}


class MergeStep(_JoinStep):
    """Several checkpoints merged, as `merge` does it."""

    key: ClassVar[str] = "merge"
    keys: ClassVar[Mapping[str, tuple[type, ...]]] = {
        "merge": LIST,
        "how": TEXT,
        "prefer": TEXT,
        "base": TEXT,
        "weights": LIST,
        "t": NUMBER,
        "density": NUMBER,
        "epsilon": NUMBER,
        "gamma": NUMBER,
        "seed": (int,),
        "lenient": TRUTH,
        "scale": (*NUMBER, *LIST),
        "vocab": LIST,
        "tokens": TEXT,
        "token-rows": LIST,
        "vocab-tensors": LIST,
    }

    def shown(self, entry: Entry) -> str:
        """Return all options as text."""
        return " ".join(f"{key}={value}" for key, value in entry.table.items() if key not in (self.key, ON, AS))

    def joined(self, sources: Sequence[Checkpoint], entry: Entry, state: PlanState) -> JoinedCheckpoints:
        """Return the merged checkpoint."""
        options = self.options(entry)
        if "base" in options:
            options["base"] = state.edited(options["base"]).tensors
        if isinstance(options.get("scale"), list):
            options["scale"] = texts_of(entry, "scale")
        if "vocab" in options:
            options["vocab"] = [Vocabulary.read(Path(path)) for path in texts_of(entry, "vocab")]
        for key in ("vocab-tensors", "token-rows"):
            if key in options:
                options[key.replace("-", "_")] = texts_of(entry, key)
                del options[key]
        return plan_merge(sources, **options)


class AverageStep(_JoinStep):
    """The average of several checkpoints, as `average` computes it."""

    key: ClassVar[str] = "average"
    keys: ClassVar[Mapping[str, tuple[type, ...]]] = {
        "average": LIST,
        "weights": LIST,
        "decay": NUMBER,
        "lenient": TRUTH,
    }

    def joined(self, sources: Sequence[Checkpoint], entry: Entry, state: PlanState) -> JoinedCheckpoints:
        """Return the average."""
        return plan_average(sources, **self.options(entry))


def edits_of(entry: Entry) -> list[str]:
    """Return the keys of a step that are names of edits."""
    return [key for key in entry.table if key.replace("_", "-") in EDITS]
