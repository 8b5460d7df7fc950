"""Patch: what makes of one checkpoint another, written as a small file, and applied again."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted, human_size
from ckpttool.formats.patch.file import SAME, PatchFile
from ckpttool.formats.writing.files import refuse_existing, replacing
from ckpttool.lineage.provenance import Command, Provenance, SourceFile
from ckpttool.lineage.storage import text_of
from ckpttool.model.checkpoint_plan import CheckpointPlan
from ckpttool.model.resolve import described, open_checkpoint
from ckpttool.surgery.merging.agreement import JoinedCheckpoints
from ckpttool.surgery.patching.applying import patched
from ckpttool.surgery.patching.making import Delta, delta


@dataclass(frozen=True)
class WrittenPatch:
    """A patch that was written: where, how large it is, and what it changes."""

    path: Path
    nbytes: int
    delta: Delta

    @property
    def rows(self) -> list[dict[str, object]]:
        """A row for each tensor that is not as it was: its name, in what it differs, and its bytes."""
        return self.delta.rows()

    def as_json(self) -> dict[str, Any]:
        """Return the fields for JSON."""
        patch = self.delta.patch
        return {
            "patch": str(self.path),
            "bytes": self.nbytes,
            "base": patch.base_hash,
            "result": patch.hash,
            "unchanged": sum(each.how == SAME for each in patch.tensors.values()),
            "changed": self.rows,
        }

    def summary(self) -> str:
        """Return what was written in a line."""
        patch, tuned = self.delta.patch, self.delta.tuned
        of = human_size(sum(spec.nbytes for spec in tuned.specs()))
        what = f"{len(patch.changed)} of {counted(len(patch.tensors), 'tensor')} changed"
        return f"{self.path}: written and read back, {what}, {human_size(self.nbytes)} for {of}"


def make_patch(
    a: str | Path, b: str | Path, output: str | Path, overwrite: bool = False, command: Command | None = None
) -> WrittenPatch:
    """Write what makes of the checkpoint A the checkpoint B, bit by bit, and read it back.

    Args:
        a: The checkpoint that whoever applies the patch has.
        b: The one that it becomes.
        output: The file to write.
        overwrite: Whether a file that is there is replaced.
        command: What the patch's lineage says that it was made by, if not this function.

    Raises:
        ExistingOutput: the output exists.
        PlanError: B has a variant that A has not.
        CorruptCheckpoint: a tensor's checksum does not match.
    """
    output = Path(output)
    refuse_existing([output], overwrite)
    base, tuned = open_checkpoint(a), open_checkpoint(b)
    found = delta(base, tuned)
    made_of = Provenance.joined(base.provenance, tuned.provenance)
    chain = made_of.chain(command or Command("make_patch", (str(a), str(b), str(output))))
    with replacing(output, lambda written: PatchFile(written).require_whole()) as file:
        found = found.write(file, text_of(chain))
    return WrittenPatch(output, output.stat().st_size, found)


def plan_apply_patch(base: Path, patch: Path, output: Path | None, to: str | None = None) -> CheckpointPlan:
    """Plan what a patch makes of its base; the base is read for it, and held against the patch.

    Args:
        base: The checkpoint that the patch was made for, in any format.
        patch: What `make_patch` wrote.
        output: Where the result will be written; its suffix says the format. None for a plan that is only shown.
        to: The family to write, if not that which the output says, or that of the base.

    Raises:
        PlanError: the base is another checkpoint; the message has the first tensor that differs.
        CorruptCheckpoint: the patch or the base is damaged.
        FormatError: it is no patch, or the format cannot hold a tensor.
    """
    notes: list[str] = []
    opened = described(open_checkpoint(base), notes.append)
    file = PatchFile(patch)
    source = SourceFile.of_patch(patch, file.patch.lineage)
    made = patched(opened, file, Provenance.joined(opened.provenance, Provenance((source,))))
    rows = tuple(made[name].spec.row() | {"then": _said(tensor.how)} for name, tensor in file.patch.tensors.items())
    if _same_specs(opened, made):
        return CheckpointPlan.of_combined(JoinedCheckpoints(made, rows), output, notes, to)
    alone = Checkpoint(made, metadata=made.metadata, provenance=made.provenance)
    notes.append("names, shapes or dtypes are others than those of the base: its graph is not written")
    return CheckpointPlan.of_combined(JoinedCheckpoints(alone, rows), output, notes, to)


def apply_patch(
    base: str | Path, patch: str | Path, output: str | Path, to: str | None = None, overwrite: bool = False
) -> Checkpoint:
    """Write what a patch makes of its base, and return it; `plan_apply_patch` has the arguments, and what is raised.

    >>> import numpy as np, tempfile, ckpttool
    >>> folder = Path(tempfile.mkdtemp())
    >>> ckpttool.save({"fc/kernel": np.zeros(3), "low/kernel": np.ones(3)}, folder / "a.npz")
    >>> ckpttool.save({"fc/kernel": np.arange(3.0), "low/kernel": np.ones(3)}, folder / "b.npz")
    >>> ckpttool.make_patch(folder / "a.npz", folder / "b.npz", folder / "delta").as_json()["unchanged"]
    1
    >>> apply_patch(folder / "a.npz", folder / "delta", folder / "c.npz")["fc/kernel"].read().tolist()
    [0.0, 1.0, 2.0]

    Raises:
        ExistingOutput: the output exists.
    """
    plan = plan_apply_patch(Path(base), Path(patch), Path(output), to)
    plan.check(output, overwrite)
    plan.write(output, overwrite, Command("apply-patch", (str(base), str(patch), "-o", str(output))))
    return checkpoint.open(output)


def _said(how: str) -> str:
    return "as in the base" if how == SAME else f"patched ({how})"


def _same_specs(base: Checkpoint, made: Checkpoint) -> bool:
    def specs(tensors: Checkpoint) -> Sequence[object]:
        return sorted((name, tensor.shape, tensor.dtype.name) for name, tensor in tensors.items())

    return specs(base) == specs(made)
