"""Editing a checkpoint: a plan of what becomes of each tensor, and what is written of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import PlanError
from ckpttool.core.names import listed
from ckpttool.core.tensors import TensorSpec
from ckpttool.core.variable_kinds import Kind
from ckpttool.formats.format import PLAIN, Writing
from ckpttool.graph.core import Graph
from ckpttool.model.opening import graph_path
from ckpttool.surgery.convert import Conversion, plan_convert
from ckpttool.surgery.edits.steps import Edited, Step, apply

if TYPE_CHECKING:
    from ckpttool.graph.sync.following import Followed


@dataclass(frozen=True)
class Row:
    """A tensor before and after: `before` is None where it is new, `after` where it is not written."""

    before: TensorSpec | None
    after: TensorSpec | None
    edits: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the row as `--json` prints it; a tensor that is not written has the shape and dtype that it had."""
        spec = self.after or self.before
        return {
            "source": self.before.name if self.before else None,
            "target": self.after.name if self.after else None,
            "shape": list(spec.shape) if spec else None,
            "dtype": str(spec.dtype) if spec else None,
            "edits": list(self.edits),
        }


@dataclass(frozen=True)
class Editing:
    """What will be written: the edited tensors, in a format, and the graph that goes with them, where one does.

    There is a row for every tensor that was or will be, and notes.
    """

    conversion: Conversion
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
    graph: Graph | None = None

    @property
    def done(self) -> str:
        """What will have been done."""
        graph = " and the graph" if self.graph else ""
        return f"{len(self.conversion.tensors)} tensors ({self.conversion.nbytes} bytes){graph}"

    def write(self, output: str | Path, overwrite: bool = False) -> list[str]:
        """Write the tensors and the graph, whole or not at all.

        Return what is to be said: how sparse those are that were pruned, and that a graph of before is still there.

        Raises:
            ExistingOutput: the output is there already.
            CkptError: a value does not fit into its new dtype.
        """
        prefix = str(output).removesuffix(".index")
        if self.graph:
            from ckpttool.model.model import write_model

            write_model(self.graph, self.conversion.tensors, prefix, overwrite)
        else:
            self.conversion.write(output, overwrite)
        pruned = [row.after.name for row in self.rows if row.after and any(e.startswith("prune ") for e in row.edits)]
        said = list(_sparsities(checkpoint.open(output), pruned)) if pruned else []
        old = Path(f"{prefix}.meta")
        if not self.graph and self.conversion.to == "bundle" and old.exists():
            said.append(f"{old} is still the graph that was there before")
        return said


def plan_edit(
    source: Checkpoint,
    steps: Sequence[Step],
    to: str = "bundle",
    lenient: bool = False,
    how: Writing = PLAIN,
    kinds: Mapping[str, str] | None = None,
    with_graph: bool = True,
    **settings: Any,
) -> Editing:
    """Plan what `edit` writes: no value is read and nothing is written before the plan's `write`.

    `kinds` says what is a slot, where more than the names is known. The settings are those that edits heed: `slots`,
    `allow_truncate`, `seed`. Where `lenient`, edits that take nothing and tensors that the format cannot hold are left
    out, and listed. The `.meta` beside a TensorFlow checkpoint follows into a bundle (`graph.rewrite.following`) where
    `with_graph` is true.

    >>> import numpy as np
    >>> ckpt = Checkpoint.of({"hidden1/kernel": np.zeros((2, 3), np.float32), "global_step": np.array(7)})
    >>> plan = plan_edit(ckpt, [Step("drop-slots"), Step("rename", "hidden1=>fc"), Step("transpose", "fc=1,0")])
    >>> [(row.before.name, row.after and row.after.shape) for row in plan.rows]
    [('hidden1/kernel', (3, 2)), ('global_step', None)]

    Raises:
        UnknownName: an edit takes nothing.
        PlanError: an edit is refused, nothing would be left, or the graph cannot do with what would be.
        FormatError: the format cannot hold a tensor.
    """
    edited = apply(_stating(source, kinds or source.kinds()), steps, settings, lenient)
    if not edited.tensors:
        raise PlanError(f"{source.path}: nothing would be left of {len(source)} tensors")
    conversion = plan_convert(edited.tensors, to, lenient=lenient, how=how, kind=edited.tensors.kinds())
    meta = graph_path(source.path)
    followed = _followed(meta, edited) if meta and with_graph and _takes_graph(meta, to) else None
    notes = [f"skipped: {problem}" for problem in edited.skipped]
    if edited.dropped:
        notes.append(f"dropped: {listed(list(edited.dropped))}")
    notes += [*conversion.notes, *_graph_notes(source, to, meta, followed)]
    rows = tuple(_rows(source, edited, conversion))
    return Editing(conversion, rows, tuple(notes), followed.graph if followed else None)


def _followed(meta: Path, edited: Edited) -> "Followed":
    from ckpttool.verbs.edited_graph import follow_edits  # takes as long to import as most edits without a graph

    return follow_edits(meta, edited)


def _takes_graph(meta: Path, to: str) -> bool:
    """Say whether a graph can go with its tensors: what `import_meta_graph` reads, into what its Saver does."""
    return meta.name.endswith(".meta") and to == "bundle"


def _graph_notes(source: Checkpoint, to: str, meta: Path | None, followed: "Followed | None") -> list[str]:
    """Say what becomes of the graph beside a checkpoint; an edited copy of a SavedModel has its own."""
    if followed:
        return [f"the graph follows: {meta}", *followed.notes]
    if meta is None or to == "saved-model":
        return []
    return [f"the graph beside {source.path} does not come along: the output is a checkpoint alone"]


def _stating(source: Checkpoint, kinds: Mapping[str, str]) -> Checkpoint:
    """Return a checkpoint whose tensors keep their kinds, whatever becomes of their names and of one another."""
    known = cast("Mapping[str, Kind]", {source.origins.get(name, name): kind for name, kind in kinds.items()})
    about = (source.metadata, source.left_out, source.origins)
    return Checkpoint(source, source.path, source.format, *about, stated=known)


def _rows(source: Checkpoint, edited: Edited, conversion: Conversion) -> Iterator[Row]:
    before = {source.origins.get(name, name): tensor.spec for name, tensor in source.items()}
    for name, tensor in edited.tensors.items():
        old = before.get(edited.tensors.origins.get(name, name))
        edits = edited.done[name]
        if name in conversion.tensors:
            yield Row(old, tensor.spec, edits)
        else:
            yield Row(old, None, (*edits, f"left out: {conversion.to} cannot hold it"))
    for origin, edits in edited.dropped.items():
        yield Row(before.get(origin), None, edits)


def _sparsities(written: Checkpoint, names: Sequence[str]) -> Iterator[str]:
    from ckpttool.surgery.summary import summarize  # needs NumPy, which most edits do not

    for name in names:
        if name in written:
            found = summarize(written[name])
            yield f"{name}: {found.zeros / max(found.count, 1):.1%} zeros"
