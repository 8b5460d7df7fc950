"""Diff: comparing two checkpoints, with kinds and order of tensors from the graphs beside them."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError
from ckpttool.formats.writing.files import refuse_existing, replacing
from ckpttool.model.resolve import Talk, described, names_taken, open_checkpoint
from ckpttool.surgery.diff import Diff, diff
from ckpttool.surgery.differing import differences
from ckpttool.surgery.differing.evidence import MOST_SPECTRA, spectra
from ckpttool.surgery.differing.singular_values import SingularValues, singular_values
from ckpttool.surgery.differing.spectrum import Spectrum
from ckpttool.surgery.differing.verdict import Verdict, verdict


@dataclass(frozen=True)
class Comparison:
    """Two checkpoints, or selected tensors of them, and their difference."""

    a: Checkpoint
    b: Checkpoint
    diff: Diff
    verdict: Verdict
    spectra: Mapping[str, Spectrum]
    singular_values: Mapping[str, SingularValues] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return self.diff.equal

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        found = {name: each.as_json() for name, each in self.spectra.items()}
        for name, each in self.singular_values.items():
            sketched = found.get(name, {"name": name, "rank": None, "of": len(each.values)})
            found[name] = {**sketched, **each.as_json()}
        return {
            **differences.document(self.diff),
            "verdict": self.verdict.as_json(),
            "spectra": list(found.values()),
        }

    def rows(self, by_layer: bool = False) -> tuple[list[dict[str, Any]], Sequence[str]]:
        """Return a row for each tensor that differs, or for each layer, and the columns of the table."""
        if by_layer:
            return differences.layer_rows(self.diff), differences.LAYER_COLUMNS
        rows, columns = differences.rows(self.diff), differences.COLUMNS
        if not self.singular_values:
            return rows, columns
        for row in rows:
            if found := self.singular_values.get(row["name"]):
                row |= {"effective_rank": found.participation, "rank_99": found.directions(0.99)}
        return rows, (*columns, "effective_rank", "rank_99")

    def lines(self) -> list[str]:
        """Return a few lines of text: the counts, the layers that changed most, and the verdict."""
        return [differences.summary(self.diff), *differences.ranking(self.diff), f"verdict: {self.verdict.text}"]

    def write_page(self, path: Path) -> None:
        """Write the difference as an HTML page, atomically."""
        from ckpttool.surgery.differing.page import page

        with replacing(path) as file:
            text = page(self.a, self.b, self.diff, self.verdict, self.spectra, self.singular_values)
            file.write(text.encode("utf-8", "backslashreplace"))


def compare(
    a: Path,
    b: Path,
    pattern: str | None,
    slots: bool,
    say: Talk,
    *,
    html: Path | None = None,
    overwrite: bool = False,
    with_values: bool = False,
) -> Comparison:
    """Compare two checkpoints, or the weights that match a pattern; with `slots` it also matches other tensors.

    An HTML page is written to `html`, if specified; then the spectra of all changed matrices are computed, else of a
    few. `with_values` adds all singular values of each change.

    Raises:
        MissingFile: one of them does not exist.
        UnknownName: the pattern matches nothing in either.
        ExistingOutput: the page exists.
    """
    refuse_existing([html] if html else [], overwrite)
    one, other = (described(open_checkpoint(path), say) for path in (a, b))
    kinds = other.kinds() | one.kinds()
    if pattern is not None:
        taken = set(names_taken(pattern, kinds, slots))
        one, other = one.only(taken), other.only(taken)
    found = diff(one, other, kinds)
    moved = spectra(one, other, found, None if html or with_values else MOST_SPECTRA)
    names = [change.name for change in found.changed if with_values and change.name in moved.matrices]
    values = {name: each for name in names if (each := singular_values(name, one[name], other[name]))}
    comparison = Comparison(one, other, found, verdict(found, moved, lambda: _order(b, found)), moved.known, values)
    if html:
        comparison.write_page(html)
    return comparison


def _order(path: Path, found: Diff) -> list[str]:
    """Return the layers of a difference in data-flow order; empty without a graph."""
    from ckpttool.verbs.layers import layer_rows  # most comparisons need no order

    with suppress(CkptError):
        rows = layer_rows(path)
        if any(row["output"] for row in rows):
            compared = {layer.name for layer in found.layers}
            return [row["name"] for row in rows if row["name"] in compared]
    return []
