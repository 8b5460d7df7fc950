"""Drafts of rules that assign a source's tensors to a graph's variables, by names, shapes and order.

A draft is written as TOML to review and edit; comments have the reason for each rule, and unresolved tensors.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from typing import Any

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError
from ckpttool.core.names import listed
from ckpttool.core.tensors import Tensor
from ckpttool.foreign.epsilons import gaps
from ckpttool.foreign.evidence import Evidence, certain_layouts, has_outputs_first, kind_of
from ckpttool.foreign.matching import BESIDE, NAMES, NUMBERS, ORDER, SHAPES, Matching
from ckpttool.foreign.names import is_counter, layer_by_role, natural
from ckpttool.foreign.parametrised import resolved
from ckpttool.foreign.readers import inlined, reading
from ckpttool.foreign.row_norms import row_norm_notes
from ckpttool.foreign.rules import Rule
from ckpttool.formats.writing.files import replacing
from ckpttool.graph.contents.layers import layers, weight_uses
from ckpttool.graph.contents.stored import StoredTensor, stored_alone, stored_tensors
from ckpttool.graph.core import Graph
from ckpttool.layouts.dense import Flatten
from ckpttool.layouts.layout import Keep, Layout
from ckpttool.layouts.norm import BatchNorm

TOGETHER, COPY = 0.75, 1.0
"""The confidence of a joint conversion of several tensors, and of a copy of another tensor."""
ABOUT = "A draft: read it, edit it, and give it to `ckpttool import --rules`, with `--check`, if there is a reference."
WHY = {
    NAMES: "the names end alike",
    SHAPES: "nothing else has these shapes",
    BESIDE: "the rest of its layer is there",
    NUMBERS: "the numbers in the names agree",
    ORDER: "only the order decides",
    TOGETHER: "no other layer makes these shapes",
    COPY: "the same numbers again",
}


@dataclass(frozen=True)
class Suggestion:
    """Tensors of the source, the variables that they probably are, the layout, and the confidence."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    layout: Layout
    confidence: float
    copy: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        why = WHY[self.confidence]
        return {
            "from": " ".join(self.sources),
            "to": " ".join(self.targets),
            "transform": str(self.layout),
            "confidence": self.confidence,
            "why": why,
        }

    def rule(self) -> Rule:
        """Return the rule that matches only these tensors."""
        sources = tuple(re.escape(name) for name in self.sources)
        targets = tuple(name.replace("\\", "\\\\") for name in self.targets)
        return Rule(sources, targets, transform=str(self.layout), copy=self.copy)


@dataclass(frozen=True)
class RuleDraft:
    """Pairs in the graph's order, the source's tensors that are not weights, and unresolved tensors with reasons.

    `notes` describe the source's weights that are computed from parts, and assumptions.
    """

    pairs: tuple[Suggestion, ...]
    dropped: tuple[str, ...]
    open: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def rules(self) -> list[Rule]:
        """Return the draft's rules for an import."""
        drops = [Rule(re.escape(name), "", optional=True) for name in self.dropped]
        return [*drops, *(pair.rule() for pair in self.pairs)]


def suggest(weights: Checkpoint, graph: Graph, held: Checkpoint | None = None) -> RuleDraft:
    """Suggest which tensors of a source become which variables of a graph, one to one, or jointly for a layer.

    If a checkpoint without a graph is to be filled, `held` is that checkpoint, whose weights are the variables.

    Ambiguities are left open: tensors that could be swapped, square kernels if no other kernel of the file shows
    whether kernels are transposed, and tensors without a counterpart. Values are read only to find out whether an
    unused tensor is a copy of another one.
    """
    file = resolved(weights)
    weights = file.weights
    is_sorted = [*weights] == sorted(weights)
    ordered = sorted(weights, key=natural) if is_sorted else list(weights)
    dropped = tuple(name for name, kind in weights.kinds().items() if kind != "weight" or is_counter(name))
    shapes = {name: weights[name].shape for name in ordered if name not in dropped and name not in file.alone}
    known = stored_tensors(graph) if held is None else stored_alone(held)
    stored = {name: target for name, target in known.items() if target.kind == "weight"}
    flowing = [name for layer in layers(graph) for name in layer.variables]  # in data-flow order
    targets = {name: stored[name] for name in dict.fromkeys([*flowing, *stored]) if name in stored}
    flat = inlined(graph)
    readings = {name: reading(flat, target) for name, target in targets.items()}
    matching = Matching(shapes, targets, readings, Evidence(weights), is_sorted, partial(_chained, graph, targets))
    matching.run()
    pairs, problems = _with_layouts(matching)
    pairs, folded = _with_epsilons(pairs, graph, targets, matching.evidence)
    pairs += [Suggestion(*joint[:3], ORDER if joint.by_order else TOGETHER) for joint in matching.joint]
    places = {name: place for place, name in enumerate(targets)}
    pairs.sort(key=lambda pair: places[pair.targets[0]])
    unused = {name: weights[name] for name in matching.unused()}
    copies = {pair.sources[0]: pair for pair in _copies(weights, pairs, unused)}
    lost = [f"{name} {list(shapes[name])}: no variable fits" for name in unused if name not in copies]
    lost += [file.problem(name) for name in file.alone]
    alone = {pair.targets[0]: pair.sources[0] for pair in pairs if len(pair.sources) == 1}
    folded += row_norm_notes(graph, targets, alone, matching.evidence)
    notes = (*map(str, file.made.values()), *folded, *_about_flattening(pairs, matching.evidence))
    return RuleDraft((*pairs, *copies.values()), dropped, (*problems, *matching.problems(), *lost), notes)


def _chained(graph: Graph, targets: Mapping[str, StoredTensor], names: Sequence[str]) -> bool:
    """Return whether data flows through the ops that apply these variables one after another."""
    uses = weight_uses(graph)
    used = [
        [op for each in targets[name].members if each.op in uses.weights for op in uses.meetings(each.op)]
        for name in names
    ]
    return all(above and graph.ancestors(*above).intersection(below) for below, above in pairwise(used))


def _copies(weights: Checkpoint, pairs: Sequence[Suggestion], unused: Mapping[str, Tensor]) -> Iterator[Suggestion]:
    """Yield unused tensors that are copies of paired ones, such as a kernel that is tied to an embedding."""
    shapes = {tensor.shape for tensor in unused.values()}
    alone = [(weights[pair.sources[0]], pair) for pair in pairs if len(pair.sources) == 1]
    alike = {_digest(tensor): pair for tensor, pair in alone if tensor.shape in shapes}
    for name, tensor in unused.items() if alike else ():
        same = alike.get(_digest(tensor))
        if same and len({*tensor.read().ravel()[:1000].tolist()}) > 1:
            yield replace(same, sources=(name,), confidence=COPY, copy=True)


def _digest(tensor: Tensor) -> object:
    digest = blake2b()
    for piece in tensor.pieces():
        digest.update(piece)
    return tensor.shape, tensor.dtype, digest.digest()


def _with_layouts(matching: Matching) -> tuple[list[Suggestion], list[str]]:
    """Return the pairs with their layouts, and messages about pairs whose layout is unknown."""
    pairs, problems = [], []
    ways = {target: matching.fits(source, target) for target, (source, _) in matching.pairs.items()}
    known = certain_layouts((matching.readings[target], fitting) for target, fitting in ways.items())
    for target, (source, confidence) in matching.pairs.items():
        fitting, read = ways[target], matching.readings[target]
        first = matching.evidence.outputs_first(kind_of(read, fitting[0]), known) if len(fitting) > 1 else True
        chosen = [way for way in fitting if len(fitting) == 1 or has_outputs_first(way) is first]
        if len(chosen) == 1 and (read.is_known or first is False or len(fitting) == 1):
            pairs.append(Suggestion((source,), (target,), chosen[0], confidence))
        else:
            fits = " and as ".join(map(str, fitting))
            why = "no other kernel shows which" if read.is_known else "no op shows how the graph reads it"
            problems.append(f"{target}: {source} fits as {fits}, and {why}; specify it in a rule")
    return pairs, problems


def _with_epsilons(
    pairs: Sequence[Suggestion], graph: Graph, targets: Mapping[str, StoredTensor], evidence: Evidence
) -> tuple[list[Suggestion], list[str]]:
    """Return the pairs with batch normalisations that compensate for different epsilons, and notes on these."""
    by_target = {pair.targets[0]: pair for pair in pairs if isinstance(pair.layout, Keep)}
    kept = {target: pair.sources[0] for target, pair in by_target.items()}
    notes: dict[BatchNorm, list[str]] = {}
    for gap in gaps(graph, targets, kept, evidence):
        joined = [by_target.pop(target) for target in gap.targets]
        sources = tuple(pair.sources[0] for pair in joined)
        sure = min(pair.confidence for pair in joined)
        by_target[gap.targets[0]] = Suggestion(sources, gap.targets, gap.layout, sure)
        notes.setdefault(gap.layout, []).append(layer_by_role(gap.variance))
    said = [f"{layout.difference}, which rules compensate for: {listed(layers)}" for layout, layers in notes.items()]
    return [*(pair for pair in pairs if not isinstance(pair.layout, Keep)), *by_target.values()], said


def _about_flattening(pairs: Sequence[Suggestion], evidence: Evidence) -> Iterator[str]:
    """Yield a note on kernels whose image is assumed to be flattened with channels first, because no op shows it."""
    flattened = [pair.sources[0] for pair in pairs if isinstance(pair.layout, Flatten) and pair.layout.form == "torch"]
    assumed = [name for name in flattened if evidence.arrangement(name).channels_first is None]
    if assumed:
        other = "one that flattens [height, width, channels] takes `dense` in place of `flatten`"
        yield f"assumed: the source flattens [channels, height, width] before {listed(assumed)}; {other}"


def write_draft(draft: RuleDraft, path: Path) -> None:
    """Write a draft as a file of rules, atomically.

    Raises:
        CkptError: the file name does not end in .toml.
    """
    if path.suffix != ".toml":
        raise CkptError(f"{path}: a draft of rules is TOML, expected a name that ends in .toml")
    with replacing(path) as file:
        file.write(as_toml(draft).encode())


def as_toml(draft: RuleDraft) -> str:
    r"""Return the rules of a draft as TOML, each with its confidence.

    >>> from ckpttool.layouts import parse_layout
    >>> pair = Suggestion(("fc.weight",), ("fc/kernel",), parse_layout("dense"), 0.9)
    >>> print(as_toml(RuleDraft((pair,), (), ())).split("\n\n")[1].strip())
    [[rule]]  # 0.9: the names end alike
    from = 'fc\.weight'
    to = 'fc/kernel'
    transform = 'dense'
    """
    said = (*draft.notes, *(f"open: {problem}" for problem in draft.open))
    blocks = ["\n".join([f"# {ABOUT}", *(f"# {each if each.isprintable() else json.dumps(each)}" for each in said)])]
    scopes = tuple(f"{name}/" for pair in draft.pairs for name in pair.sources)
    drops = {
        name: f"[[rule]]  # not a weight\nfrom = {_toml([re.escape(name)])}\ndrop = true\noptional = true"
        for name in draft.dropped
    }
    slots = [name for name in drops if name.startswith(scopes)]  # the rules of their variables would match them, too
    blocks += [drops.pop(name) for name in slots]
    for pair in draft.pairs:
        sources = [re.escape(name) for name in pair.sources]
        targets = [name.replace("\\", "\\\\") for name in pair.targets]
        lines = [
            f"[[rule]]  # {pair.confidence}: {WHY[pair.confidence]}",
            f"from = {_toml(sources)}",
            f"to = {_toml(targets)}",
            f"transform = {_toml([str(pair.layout)])}",
        ]
        blocks.append("\n".join([*lines, *["copy = true"] * pair.copy]))
    return "\n\n".join([*blocks, *drops.values()]) + "\n"


def _toml(texts: Sequence[str]) -> str:
    """Return a TOML string, or an array of several: a literal string, or a basic one with escapes if necessary."""
    quoted = [f"'{text}'" if text.isprintable() and "'" not in text else json.dumps(text) for text in texts]
    return quoted[0] if len(quoted) == 1 else f"[{', '.join(quoted)}]"
