"""Suggesting entries of the catalogue whose layers another network, or rows of a shape, can reuse."""

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
"""The default maximum number of suggestions; with data the scores of this many are computed."""
CLASSES = 10
"""The placeholder for the number of classes in a command, if neither data nor a network determines it."""
OUTPUTS = {"keras": "reused.keras", "saved-model": "reused/"}
"""The output in a command, by the family of the entry; for others a checkpoint with its graph."""


@dataclass(frozen=True)
class Suggestion:
    """A matching entry: the number of layers from the bottom that fit, of how many, why, and the arguments of `reuse`.

    `path` is the path of the entry's model, `source` its name, `output` the file to write, `kept` the names of
    the layers. With data `score` is the expected accuracy (or R squared) of a linear layer on the
    frozen ones, and `logme` is set; if these could not be computed, `problem` says why.
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
    """Return the entries whose layers fit best, for another network or for rows of a shape, without running any.

    Args:
        other: A model; entries fit it by their lowest layers that have the same kinds and shapes.
        shape: The shape of one row; entries fit that accept such rows.
        root: The catalogue's folder; by default the user's own.
        most: The maximum number of suggestions.

    Raises:
        PlanError: neither a model nor a shape is specified, or both are.
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
    """The network for which layers are suggested."""

    path: Path
    family: str
    layers: Sequence[Row]
    stack: Sequence[str]

    @classmethod
    def of(cls, path: Path) -> "_Other":
        from ckpttool.zoo.describe import described  # reads graphs, which entries do not need

        facts = described(path)
        return cls(path, facts.family, facts.layers, stacked(stack_text(facts.layers, facts.tensors)))

    def has(self, layers: Sequence[Row]) -> bool:
        """Return whether layers have the names of the network's own, so that they can be restored into it."""
        pairs = zip(layers, self.layers, strict=False)
        return all(set(own["variables"]) <= set(each["variables"]) for own, each in pairs)

    @property
    def classes(self) -> int:
        """The number of outputs of the network."""
        return _units(self.layers[-1]) or CLASSES


def _suggestion(catalogue: Catalogue, fit: Fit, wanted: _Other | None, is_own: bool) -> Suggestion:
    """Return the suggestion for an entry: with its name in the user's own catalogue, with its path in another."""
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
    """Return a pattern that matches the lower layers of an entry, and no others."""
    names = [[str(name) for name in layer.get("variables") or ()] for layer in manifest.layers]
    kept, others = ([name for own in some for name in own] for some in (names[:count], names[count:]))
    return shortest_pattern(kept, others)


def _head(manifest: Manifest, count: int, classes: int) -> str:
    """Return a linear layer with `classes` outputs, after global pooling if the last layer has spatial dimensions."""
    taken = {str(layer.get("name")).rpartition("/")[2] for layer in manifest.layers[:count]}
    head = f"{'outputs' if 'outputs' not in taken else 'new_outputs'} = dense({classes})"
    shape = manifest.layers[count - 1].get("output_shape")
    return f"pool = global_avg_pool(); {head}" if isinstance(shape, list) and len(shape) > 2 else head


def _resizing(manifest: Manifest, fit: Fit) -> str:
    height, width = (fit.takes or "").split("x")[:2]
    return "; ".join([f"resize({height}, {width})", *([manifest.preprocess] if manifest.preprocess else [])])


def _units(layer: Mapping[str, Any]) -> int | None:
    """Return the number of outputs of a layer per row."""
    shape = layer.get("output_shape") or next((each for each in layer.get("shapes") or () if each), None)
    return shape[-1] if shape and isinstance(shape[-1], int) else None


def with_scores(
    found: Sequence[Suggestion], data: str | Path, open_model: Callable[[Path], Any] | None = None
) -> list[Suggestion]:
    """Return suggestions ordered by the scores of their frozen layers on labelled rows, best first; runs TensorFlow.

    Args:
        found: The result of `zoo_suggest`.
        data: The rows, as for `search_quick`.
        open_model: A function that opens an entry's model to run it; by default `Model.open`.
    """
    scored = [_scored(each, data, open_model) for each in found]
    return sorted(scored, key=lambda each: (each.score is None, -(each.score or 0), -(each.logme or 0)))


def _scored(found: Suggestion, data: str | Path, open_model: Callable[[Path], Any] | None) -> Suggestion:
    from ckpttool.model.model import Model
    from ckpttool.training.options import Options
    from ckpttool.verbs.search_quick import search_quick

    options = Options(preprocess=found.reuse.get("preprocess"))
    try:
        quick = search_quick((open_model or Model.open)(found.path), data, options)
    except CkptError as error:
        return replace(found, problem=str(error))
    depths = [each for each in quick.ranking.depths if each.features.depth.number]
    if "into" in found.reuse:  # the reused layers are specified, and so is the depth
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
    """Return the arguments of `reuse` for the layers up to the best depth."""
    told = {"layers": best.layers, "after": best.after, "head": best.head, "objective": best.objective}
    return {key: value for key, value in {**told, "preprocess": said.get("preprocess")}.items() if value}


def _for_labels(said: Mapping[str, str], best: "Reuse") -> dict[str, str]:
    """Return the arguments of `reuse`, with an output per class of the labels in the head, if there is one."""
    if "head" not in said:
        return dict(said)
    head = said["head"].replace(f"dense({CLASSES})", best.head.rpartition(" = ")[2])
    return {**said, "head": head, **({"objective": best.objective} if best.objective else {})}
