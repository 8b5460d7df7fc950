"""The steps of a plan that create a checkpoint: edits, merges and averages."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import FormatError
from ckpttool.lineage.derivation import AS, ON
from ckpttool.plans.script import Entry
from ckpttool.plans.step import LIST, NUMBER, TEXT, TRUTH, PlanStep, Stage, Taken, numbers_of, texts_of
from ckpttool.surgery.average import plan_average
from ckpttool.surgery.edits import EDITS
from ckpttool.surgery.edits.steps import Step
from ckpttool.surgery.merge import plan_merge
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

    def apply(self, entry: Entry, stage: Stage) -> Taken:
        """Edit the checkpoint that `on` names, else the current one."""
        key = next(iter(edits_of(entry)))
        value, on = entry.table[key], entry.table.get(ON, stage.current)
        if value is False:
            raise FormatError(f"{entry.place}: {key} is false, expected text, or true for an edit without a value")
        step = Step(key.replace("_", "-"), "" if value is True else value, entry.place)
        before = stage.edited(on)
        after = before.then(step, entry.table)
        stage.put(entry.table.get(AS, on), after, stage.begun[on], stage.vocabularies.get(on))
        changed = [name for name, tensor in after.tensors.items() if before.tensors.get(name) is not tensor]
        return Taken(str(step), on, (*changed, *(name for name in after.dropped if name not in before.dropped)))


class MergeStep(PlanStep):
    """Several checkpoints merged, as `merge` does it."""

    keys: ClassVar[Mapping[str, tuple[type, ...]]] = {
        "merge": LIST,
        "how": TEXT,
        "prefer": TEXT,
        "base": TEXT,
        "weights": LIST,
        "t": NUMBER,
        "density": NUMBER,
        "gamma": NUMBER,
        "seed": (int,),
        "lenient": TRUTH,
        "scale": (*NUMBER, *LIST),
        "vocab": LIST,
        "tokens": TEXT,
        "vocab-tensors": LIST,
    }

    def apply(self, entry: Entry, stage: Stage) -> Taken:
        """Merge checkpoints; the result replaces the last one, unless `as` names it."""
        sources = _named_sources(entry, "merge", stage)
        options = {key: value for key, value in entry.table.items() if key not in ("merge", ON, AS)}
        shown = " ".join(f"{key}={value}" for key, value in options.items())
        if "base" in options:
            options["base"] = stage.edited(options["base"]).tensors
        if "weights" in options:
            options["weights"] = numbers_of(entry, "weights")
        if isinstance(options.get("scale"), list):
            options["scale"] = texts_of(entry, "scale")
        if "vocab" in options:
            options["vocab"] = [Vocabulary.read(Path(path)) for path in texts_of(entry, "vocab")]
        if "vocab-tensors" in options:
            options["vocab_tensors"] = texts_of(entry, "vocab-tensors")
            del options["vocab-tensors"]
        joined = plan_merge(sources, **options)
        names = entry.table["merge"]
        stage.join(entry.table.get(AS, names[-1]), joined, f"merge {','.join(names)} {shown}".strip())
        return Taken(f"merge {shown}".strip(), ", ".join(names), tuple(joined.tensors))


class AverageStep(PlanStep):
    """The average of several checkpoints, as `average` computes it."""

    keys: ClassVar[Mapping[str, tuple[type, ...]]] = {
        "average": LIST,
        "weights": LIST,
        "decay": NUMBER,
        "lenient": TRUTH,
    }

    def apply(self, entry: Entry, stage: Stage) -> Taken:
        """Average checkpoints; the result replaces the last one, unless `as` names it."""
        sources = _named_sources(entry, "average", stage)
        options = {key: value for key, value in entry.table.items() if key not in ("average", ON, AS)}
        if "weights" in options:
            options["weights"] = numbers_of(entry, "weights")
        joined = plan_average(sources, **options)
        names = entry.table["average"]
        stage.join(entry.table.get(AS, names[-1]), joined, f"average {','.join(names)}")
        return Taken("average", ", ".join(names), tuple(joined.tensors))


def _named_sources(entry: Entry, key: str, stage: Stage) -> list[Checkpoint]:
    """Return the checkpoints named in a list, in order."""
    return [stage.edited(name).tensors for name in texts_of(entry, key)]


def edits_of(entry: Entry) -> list[str]:
    """Return the keys of a step that are names of edits."""
    return [key for key in entry.table if key.replace("_", "-") in EDITS]
