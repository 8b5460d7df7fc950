"""Export: a model's values under the names of another framework's file, by the rules that import it."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.counts import counted
from ckpttool.core.errors import FormatError, PlanError
from ckpttool.core.notebooks import ShownPlan
from ckpttool.core.notes import notes_about
from ckpttool.core.tensors import Tensor
from ckpttool.foreign.pairing import Pairing, pair_weights
from ckpttool.foreign.rules import Rule
from ckpttool.formats import registry
from ckpttool.formats.format import Format, Writing
from ckpttool.formats.writing.files import refuse_existing
from ckpttool.lineage.provenance import Command
from ckpttool.model.graphs import graph_as_run
from ckpttool.model.resolve import open_checkpoint


@dataclass(frozen=True, repr=False)
class ExportPlan(ShownPlan):
    """The plan: the tensors of `like`, with the model's values where it has them."""

    model: Path
    pairing: Pairing
    values: Checkpoint

    @property
    def like(self) -> Checkpoint:
        """The file whose names, shapes and dtypes the output gets."""
        return self.pairing.file

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The output's tensors in the order of `like`, converted to its layout when read."""
        made = self.pairing.exported(self.values)
        return {name: made.get(name) or tensor for name, tensor in self.like.items()}

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A row per tensor of the output: the variables of its value, or that it keeps the value of `like`."""
        froms = self.pairing.exported_from()
        return [
            {"name": name, "shape": tensor.shape, "dtype": str(tensor.dtype), "value": froms.get(name, "as in LIKE")}
            for name, tensor in self.tensors.items()
        ]

    def as_json(self) -> list[dict[str, Any]]:
        """Return the plan as JSON."""
        return self.rows

    @property
    def notes(self) -> list[str]:
        """Which tensors keep the value of `like`, and which of the model are not exported."""
        taken = self.pairing.exported_from()
        kept = [name for name in self.like if name not in taken]
        return [
            *notes_about("skipped", self.pairing.left_out, most=1),
            *notes_about(f"as in {self.like.path}", kept),
            *notes_about(f"of {self.model}, not written", self.pairing.unfilled),
        ]

    @property
    def done(self) -> str:
        """A statement about the written output."""
        return f"written and read back, {counted(len(self.tensors), 'tensor')}"

    def target(self, output: Path) -> Format:
        """Return the format of an output, by its suffix; if two formats share it (`.h5`), that of `like`."""
        found = registry.for_output(output)
        return found if found.NAME == "bundle" else registry.for_output(output, None, self.like.path)

    def check(self, output: str | Path, overwrite: bool = False) -> None:
        """Check that the output can be written.

        Raises:
            FormatError: its suffix is that of a format that cannot be written.
            ExistingOutput: it exists.
        """
        target = self.target(Path(output))
        if not target.WRITES:
            raise FormatError(f"{output}: {target.NAME} {target.LIMITS}")
        refuse_existing([Path(output)], overwrite)

    def write(self, output: str | Path, overwrite: bool = False, command: Command | None = None) -> None:
        """Write the file in the format of its suffix; see `checkpoint.save` for errors."""
        command = command or Command.of_call("export", self.model, output)
        target = self.target(Path(output))
        like = self.like.path if "like" in target.OPTIONS else None
        metadata = self.like.metadata if target.METADATA else {}
        if target.METADATA and self.like.format == "torch":
            # loaders of safetensors ask for the framework that a file of PyTorch is from
            metadata = {"format": "pt", **metadata}
        how = Writing(metadata=metadata, like=like)
        checkpoint.save(self.like.holding(self.tensors), output, target.NAME, overwrite, how, command)


def plan_export(
    model: Path,
    like: Path,
    rules: list[Rule] | None = None,
    lenient: bool = False,
    cast: bool = False,
    scope: str = "",
) -> ExportPlan:
    """Plan what `export` writes: `like` is paired with the model's graph as in an import; no value is read.

    Args:
        model: The model whose values are exported.
        like: A file of the other framework with the same network, whose names, shapes and dtypes the output gets.
        rules: The rules that import such a file.
        lenient: Whether to skip tensors without a variable, which keep the values of `like`.
        cast: Whether to cast values to the dtypes of `like`.
        scope: The scope in the graph from which tensors are exported.

    Raises:
        MissingFile: the model or `like` does not exist.
        UnknownName: a rule matches nothing, or a variable is missing in the checkpoint.
        PlanError: names, shapes or dtypes do not match.
    """
    graph = graph_as_run(Path(model))
    paired = pair_weights(checkpoint.open(like), graph, rules or [], scope=scope, lenient=lenient, cast=cast)
    plan = ExportPlan(model, paired, open_checkpoint(model))
    for name, tensor in plan.tensors.items():
        if tensor.shape != plan.like[name].shape:
            raise PlanError(f"{like.name}: {name} is {list(plan.like[name].shape)}, exported {list(tensor.shape)}")
    return plan
