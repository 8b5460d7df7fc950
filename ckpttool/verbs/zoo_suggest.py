"""Suggesting entries of the catalogue: those with layers that another network, or rows of a shape, can make use of."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ckpttool.catalogue.layout import Catalogue
from ckpttool.catalogue.manifest import Manifest, Row
from ckpttool.catalogue.placing import placed
from ckpttool.core.errors import CkptError, PlanError
from ckpttool.core.pattern_text import shortest_pattern
from ckpttool.zoo.fits import RESIZED, Fit, fits_of_model, fits_of_rows
from ckpttool.zoo.index import Index, asked
from ckpttool.zoo.stacks import stack_text, stacked

if TYPE_CHECKING:
    from ckpttool.verbs.search_quick import Reuse

MOST = 10
"""Entries that are suggested at most, where nothing else is said; with data the scores of so many are computed."""
CLASSES = 10
"""What stands for the number of classes in a command, where neither data nor another network says it."""
OUTPUTS = {"keras": "reused.keras", "saved-model": "reused/"}
"""What a command writes, by the family of the entry; of others it is a checkpoint with its graph."""


@dataclass(frozen=True)
class Suggestion:
    """An entry that fits: how many layers from the bottom, of how many, why, and what `reuse` is told to reuse them.

    `path` is where the entry's model is, `source` what it is named by, `output` what is written, `kept` the names of
    the layers. With data there are the `score`, which is the expected accuracy (or R squared) of a linear layer on the
    frozen ones, and `logme`; where these could not be computed `problem` says why.
    """

    entry: str
    family: str
    path: Path
    layers: int
    of: int
    takes: str | None
    why: str
    source: str
    reuse: Mapping[str, str]
    output: str
    kept: Sequence[str] = ()
    score: float | None = None
    logme: float | None = None
    problem: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        plain = ("entry", "family", "layers", "of", "takes", "why", "score", "logme", "problem")
        lists = {"kept": list(self.kept), "source": self.source, "reuse": dict(self.reuse), "output": self.output}
        return {**{key: getattr(self, key) for key in plain}, **lists}


def zoo_suggest(
    other: Path | None = None,
    shape: Sequence[int] | None = None,
    root: Path | None = None,
    most: int = MOST,
) -> list[Suggestion]:
    """Return the entries whose layers fit best, for another network or for rows of a shape; nothing is run.

    Args:
        other: A model; entries fit it by the layers at their bottom that are of its kinds and shapes.
        shape: The shape of one row; entries fit that take such rows.
        root: The catalogue's folder, if not the user's own.
        most: How many are returned at most.

    Raises:
        PlanError: neither a model nor a shape is given, or both are.
        MissingFile: there is no catalogue.
        CkptError: the model cannot be read.
    """
    if (other is None) == (shape is None):
        raise PlanError("specify `other`, a model, or `shape`, that of an example, but not both")
    catalogue, wanted = Catalogue.open(root), None if other is None else _Other.of(other)

    def fitting(index: Index) -> list[Fit]:
        stacks = index.stacks()
        return fits_of_rows(stacks, shape or ()) if wanted is None else fits_of_model(stacks, wanted.stack)

    return [_suggestion(catalogue, fit, wanted, root is None) for fit in asked(catalogue, fitting)[:most]]


@dataclass(frozen=True)
class _Other:
    """The network that layers are wanted for."""

    path: Path
    family: str
    layers: Sequence[Row]
    stack: Sequence[str]

    @classmethod
    def of(cls, path: Path) -> "_Other":
        from ckpttool.zoo.describe import described  # reads graphs, which no entry is asked for

        facts = described(path)
        return cls(path, facts.family, facts.layers, stacked(stack_text(facts.layers, facts.tensors)))

    def has(self, layers: Sequence[Row]) -> bool:
        """Say whether layers are called as the network's own, so that they can be restored into it."""
        pairs = zip(layers, self.layers, strict=False)
        return all(set(own["variables"]) <= set(each["variables"]) for own, each in pairs)

    @property
    def classes(self) -> int:
        """How many numbers the network gives."""
        return _units(self.layers[-1]) or CLASSES


def _suggestion(catalogue: Catalogue, fit: Fit, wanted: _Other | None, is_own: bool) -> Suggestion:
    """Return what is said of an entry that fits: by its name in the user's own catalogue, by its path in another."""
    manifest = catalogue.manifest(fit.name, fit.revision)
    path, why, count = placed(catalogue, manifest) / manifest.main, fit.why, fit.layers
    if wanted is not None and wanted.has(manifest.layers[:count]):
        goes, family = {"into": str(wanted.path)}, wanted.family
    else:
        count, family = min(count, fit.below), manifest.family
        goes = {"head": _head(manifest, count, CLASSES if wanted is None else wanted.classes)}
        why += ", under other names" if wanted is not None else ""
    goes |= {"preprocess": _resizing(manifest, fit)} if fit.rows == RESIZED else {}
    reuse = {"layers": _pattern(manifest, count), **goes}
    kept = [str(layer.get("name")) for layer in manifest.layers[:count]]
    about = (str(manifest), manifest.family, path, fit.layers, fit.of, fit.takes, why)
    source = f"zoo:{manifest.name}" if is_own else str(path)
    return Suggestion(*about, source, reuse, OUTPUTS.get(family, "reused.ckpt"), kept)


def _pattern(manifest: Manifest, count: int) -> str:
    """Return a pattern that takes the lower layers of an entry, and no others."""
    names = [[str(name) for name in layer.get("variables") or ()] for layer in manifest.layers]
    kept, others = ([name for own in some for name in own] for some in (names[:count], names[count:]))
    return shortest_pattern(kept, others)


def _head(manifest: Manifest, count: int, classes: int) -> str:
    """Return a linear layer for so many classes, above a mean over space where the last layer has dimensions of it."""
    taken = {str(layer.get("name")).rpartition("/")[2] for layer in manifest.layers[:count]}
    head = f"{'outputs' if 'outputs' not in taken else 'new_outputs'} = dense({classes})"
    shape = manifest.layers[count - 1].get("output_shape")
    return f"pool = global_avg_pool(); {head}" if isinstance(shape, list) and len(shape) > 2 else head


def _resizing(manifest: Manifest, fit: Fit) -> str:
    height, width = (fit.takes or "").split("x")[:2]
    return "; ".join([f"resize({height}, {width})", *([manifest.preprocess] if manifest.preprocess else [])])


def _units(layer: Mapping[str, Any]) -> int | None:
    """Return how many numbers a layer gives for each row."""
    shape = layer.get("output_shape") or next((each for each in layer.get("shapes") or () if each), None)
    return shape[-1] if shape and isinstance(shape[-1], int) else None


def with_scores(
    found: Sequence[Suggestion], data: str | Path, open_model: Callable[[Path], Any] | None = None, seed: int = 42
) -> list[Suggestion]:
    """Return suggestions by the scores of their frozen layers on rows with labels, the best first; TensorFlow runs.

    Args:
        found: What `zoo_suggest` gave.
        data: The rows, as `search_quick` takes them.
        open_model: What opens an entry's model to run, if not `Model.open`.
        seed: What rows are drawn by where there are many.
    """
    scored = [_scored(each, data, open_model, seed) for each in found]
    return sorted(scored, key=lambda each: (each.score is None, -(each.score or 0), -(each.logme or 0)))


def _scored(found: Suggestion, data: str | Path, open_model: Callable[[Path], Any] | None, seed: int) -> Suggestion:
    from ckpttool.model.model import Model
    from ckpttool.training.options import Options
    from ckpttool.verbs.search_quick import search_quick

    options = Options(seed=seed, preprocess=found.reuse.get("preprocess"))
    try:
        quick = search_quick((open_model or Model.open)(found.path), data, options)
    except CkptError as error:
        return replace(found, problem=str(error))
    depths = [each for each in quick.ranking.depths if each.features.depth.number]
    if "into" in found.reuse:  # which layers are reused is said, and so is the depth
        kept = [*takewhile(lambda each: set(each.features.depth.layers) <= set(found.kept), depths)]
        best = kept[-1] if kept else None
    else:
        best = min(depths, key=lambda each: each.rank, default=None)
    if best is None:
        return replace(found, problem="no depth of it lies above the layers that are kept")
    depth, found = best.features.depth, replace(found, score=best.expected, logme=best.scores.logme)
    if "into" in found.reuse or quick.reuse.layers is None:
        why = f"{found.why}; the rows alone have {quick.ranking.depths[0].expected:.3f}"
        return replace(found, why=why, reuse=_for_labels(found.reuse, quick.reuse))
    why = f"best up to {depth.layers[-1]}, depth {depth.number} of {depths[-1].features.depth.number}"
    return replace(found, why=why, reuse=_by_depth(found.reuse, quick.reuse))


def _by_depth(said: Mapping[str, str], best: "Reuse") -> dict[str, str]:
    """Return what `reuse` is told to keep the layers up to the best depth."""
    told = {"layers": best.layers, "after": best.after, "head": best.head, "objective": best.objective}
    return {key: value for key, value in {**told, "preprocess": said.get("preprocess")}.items() if value}


def _for_labels(said: Mapping[str, str], best: "Reuse") -> dict[str, str]:
    """Return what `reuse` is told, with a head, where there is one, of as many numbers as the labels have classes."""
    if "head" not in said:
        return dict(said)
    head = said["head"].replace(f"dense({CLASSES})", best.head.rpartition(" = ")[2])
    return {**said, "head": head, **({"objective": best.objective} if best.objective else {})}
