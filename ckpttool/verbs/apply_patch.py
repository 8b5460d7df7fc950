"""Patch: the difference from one checkpoint to another as a small file, and applying it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted, human_size
from ckpttool.formats.patch.file import SAME, PatchFile
from ckpttool.formats.writing.files import refuse_existing, replacing
from ckpttool.lineage.provenance import Command, Provenance
from ckpttool.lineage.source_file import SourceFile
from ckpttool.lineage.storage import text_of
from ckpttool.model.checkpoint_plan import CheckpointPlan
from ckpttool.model.resolve import described, open_checkpoint
from ckpttool.surgery.merging.agreement import JoinedCheckpoints
from ckpttool.surgery.patching.applying import patched
from ckpttool.surgery.patching.making import Delta, delta


@dataclass(frozen=True)
class WrittenPatch:
    """A written patch: its path, its size, and what it changes."""

    path: Path
    nbytes: int
    delta: Delta

    @property
    def rows(self) -> list[dict[str, object]]:
        """A row for each changed tensor: its name, how it differs, and the bytes in the patch."""
        return self.delta.rows()

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
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
        """Return a summary in one line of text."""
        patch, tuned = self.delta.patch, self.delta.tuned
        of = human_size(sum(spec.nbytes for spec in tuned.specs()))
        what = f"{len(patch.changed)} of {counted(len(patch.tensors), 'tensor')} changed"
        return f"{self.path}: written and read back, {what}, {human_size(self.nbytes)} for {of}"


def make_patch(
    a: str | Path, b: str | Path, output: str | Path, overwrite: bool = False, command: Command | None = None
) -> WrittenPatch:
    """Write the bit-exact difference from checkpoint A to checkpoint B, and read it back.

    Args:
        a: The base checkpoint, which is needed to apply the patch.
        b: The resulting checkpoint.
        output: The file to write.
        overwrite: Whether an existing file is overwritten.
        command: The command to record in the patch's lineage, if not this function.

    Raises:
        ExistingOutput: the output exists.
        PlanError: B has a variant tensor that A does not have.
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
    """Plan applying a patch to its base, which is read and compared with the patch.

    Args:
        base: The base checkpoint of the patch, in any format.
        patch: The file written by `make_patch`.
        output: The output; its suffix determines the format. None for a plan that is only shown.
        to: The family to write, if not that of the output's path, or of the base.

    Raises:
        PlanError: the base is another checkpoint; the message names the first tensor that differs.
        CorruptCheckpoint: the patch or the base is damaged.
        FormatError: it is not a patch, or the format cannot store a tensor.
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
    """Apply a patch to its base, write and return the result; see `plan_apply_patch` for the arguments and errors.

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
