"""Pairs batch normalisations with the layers that they follow: by the network in the file, else by names.

A state dict does not contain the computation between two layers, but there are naming conventions: in PyTorch, `conv1`
and `bn1`, `0` and `1` of a Sequential, or layers that a module registers consecutively; slim puts the normalisation
into the layer's scope. Ambiguous cases are refused, because a wrong pair would silently change the results.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.core.names import components, listed, number_in, scopes
from ckpttool.core.pattern_cost import compiled, quick
from ckpttool.core.suggestions import suggestion
from ckpttool.formats import registry

_KERNELS = ("weight", "kernel", "pointwise_kernel", "depthwise_kernel", "weights", "depthwise_weights")
"""The names of kernels; of a separable convolution, the pointwise one counts."""
_PARTS = {
    "gamma": ("weight", "gamma"),
    "beta": ("bias", "beta"),
    "mean": ("running_mean", "moving_mean"),
    "variance": ("running_var", "moving_variance", "running_variance"),
    "counter": ("num_batches_tracked",),
}
_NORM_WORDS, _LAYER_WORDS = {"bn", "norm", "batch", "batchnorm", "normalization"}, {"conv", "dense", "fc", "linear"}
_WORD = re.compile(r"conv\dd|\d+|[a-z]+")
TORCH, TENSORFLOW = 1e-5, 1e-3
"""The default epsilons of PyTorch, and of Keras and tf.layers."""


@dataclass(frozen=True)
class Norm:
    """A batch normalisation: its layer, its tensors by role, and its epsilon if the file contains it."""

    layer: str
    parts: Mapping[str, str]
    epsilon: float | None = None

    @property
    def is_torch(self) -> bool:
        """Whether its tensors have PyTorch's names."""
        return self.parts["variance"].endswith("running_var")


@dataclass(frozen=True)
class NormPair:
    """A layer's kernel, its bias (existing or new), and the following normalisation; `kind` is the Keras class."""

    kernel: str
    bias: str
    norm: Norm
    kind: str = ""


def norms(ckpt: Checkpoint) -> dict[str, Norm]:
    """Return the batch normalisations of a checkpoint by their layers.

    Raises:
        PlanError: one has no mean.
    """
    said = _arrangements(ckpt)
    found: dict[str, Norm] = {}
    for layer, names in scopes(ckpt).items():
        by_word = {components(name)[-1].lstrip("/."): name for name in names}
        parts = {part: by_word[word] for part, words in _PARTS.items() for word in words if word in by_word}
        if "variance" not in parts:
            continue
        if "mean" not in parts:
            raise PlanError(f"{layer} has {parts['variance']}, but no mean beside it")
        found[layer] = Norm(layer, parts, said.get(ckpt.origins.get(parts["variance"], parts["variance"])))
    return found


def _arrangements(ckpt: Checkpoint) -> dict[str, float]:
    """Return the epsilons in the ops of a file, by the tensors' names in it."""
    if ckpt.format is None or ckpt.path is None:
        return {}
    said = registry.get(ckpt.format).arrangements(ckpt.path)
    return {name: each.epsilon for name, each in said.items() if each.epsilon is not None}


def given_pairs(ckpt: Checkpoint, pattern: str, template: str) -> list[NormPair]:
    r"""Return the pairs for `CONV=BN`: a pattern for layers, and the name of the following normalisation with groups.

    Raises:
        UnknownName: the pattern matches no layer with a kernel, or there is no such normalisation.
    """
    expression, known = compiled(pattern), norms(ckpt)
    layers = _layers(ckpt)
    pairs: list[NormPair] = []
    for layer in layers:
        match = expression.fullmatch(quick(expression, layer, pattern))
        if match is None:
            continue
        try:
            name = match.expand(template)
        except (re.error, IndexError) as error:
            raise PlanError(f"{template!r} has a group that {pattern!r} lacks: {error}") from error
        if name not in known:
            raise UnknownName(f"{layer}: no batch normalisation is named {name}{suggestion(name, known)}")
        pairs.append(_pair(ckpt, layer, layers[layer], known[name]))
    if not pairs:
        raise UnknownName(f"{pattern!r} matches no layer with a kernel{suggestion(pattern, layers)}")
    return pairs


def found_pairs(ckpt: Checkpoint) -> list[NormPair]:
    """Return each batch normalisation with the layer that it follows.

    Raises:
        UnknownName: there are no batch normalisations.
        PlanError: it is unclear which layer one follows.
    """
    known = norms(ckpt)
    if not known:
        raise UnknownName("there is no batch normalisation: no tensor is named running_var or moving_variance")
    network = _network(ckpt)
    layers = _layers(ckpt)
    pairs, open_ = [], []
    for place, norm in enumerate(known.values()):
        layer, kind, epsilon = network[place] if network else (_by_names(ckpt, norm, layers), "", norm.epsilon)
        if layer is None or layer not in layers:
            open_.append(norm.layer)
        else:
            pairs.append(_pair(ckpt, layer, layers[layer], Norm(norm.layer, norm.parts, epsilon), kind))
    if open_:
        by = "the network does" if network else "the names do"
        raise PlanError(
            f"{by} not determine which layer's outputs are normalised directly by {listed(open_, 3)}; specify pairs: "
            f"'(.*)conv=\\1bn', or one: 'CONV={open_[0]}'"
        )
    return pairs


def _layers(ckpt: Checkpoint) -> dict[str, str]:
    """Return the kernels of layers that a normalisation may follow, by layer."""
    found: dict[str, str] = {}
    for layer, names in scopes(ckpt).items():
        by_word = {components(name)[-1].lstrip("/."): name for name in names}
        kernel = next((by_word[word] for word in _KERNELS if word in by_word), None)
        if kernel is not None and kernel != layer and len(ckpt[kernel].shape) > 1:
            found[layer] = kernel
    return found


def _pair(ckpt: Checkpoint, layer: str, kernel: str, norm: Norm, kind: str = "") -> NormPair:
    sign = kernel[len(layer)]
    named = (f"{layer}{sign}{word}" for word in ("bias", "biases"))
    return NormPair(kernel, next((name for name in named if name in ckpt), f"{layer}{sign}bias"), norm, kind)


def is_transposed(layer: str) -> bool:
    """Return whether a layer is named like a transposed convolution, whose kernel has its outputs second.

    >>> is_transposed("decoder.upconv1"), is_transposed("conv1")
    (True, False)
    """
    return re.search("transp|deconv|up", layer, re.IGNORECASE) is not None


def _by_names(ckpt: Checkpoint, norm: Norm, layers: Mapping[str, str]) -> str | None:
    """Return the layer that a normalisation follows by the conventions of PyTorch or slim, or None."""
    own = components(norm.layer)
    scope, last = "".join(own[:-1]), own[-1].lstrip("/.")
    if scope in layers:
        return scope
    if not norm.is_torch:
        return None  # a Keras layer may contain an activation before the normalisation
    channels = ckpt[norm.parts["variance"]].spec.elements
    beside = [each for each in layers if each != norm.layer and "".join(components(each)[:-1]) == scope]
    fitting = [each for each in beside if channels in ckpt[layers[each]].shape[: 1 + is_transposed(each)]]
    if ckpt.format == "torch":  # keeps the order in which modules were registered
        order = list(scopes(ckpt))
        before = order[order.index(norm.layer) - 1] if order.index(norm.layer) else ""
        return before if before in fitting and _follows(components(before)[-1].lstrip("/."), last) else None
    named = [each for each in beside if _same_but_for_kind(components(each)[-1].lstrip("/."), last)]
    return named[0] if len(named) == 1 and named[0] in fitting else None


def _follows(layer: str, norm: str) -> bool:
    """Return whether two entries of a Sequential are consecutive; also True for names that are not numbers."""
    before, after = number_in(layer), number_in(norm)
    return before is None or after is None or before + 1 == after


def _same_but_for_kind(layer: str, norm: str) -> bool:
    """Return whether names differ only in the words for their kinds, or are consecutive numbers.

    >>> _same_but_for_kind("conv1", "bn1"), _same_but_for_kind("0", "1"), _same_but_for_kind("conv_dw", "bn1")
    (True, True, False)
    """
    if layer.isdecimal() or norm.isdecimal():
        return layer.isdecimal() and norm.isdecimal() and _follows(layer, norm)
    words = ["conv" if word.startswith("conv") else word for word in _WORD.findall(layer.lower())]
    rest = [word for word in _WORD.findall(norm.lower()) if word not in _NORM_WORDS]
    without = [words[:place] + words[place + 1 :] for place, word in enumerate(words) if word in _LAYER_WORDS]
    return rest in (words, *without)


def _network(ckpt: Checkpoint) -> list[tuple[str | None, str, float]]:
    """Return for each normalisation in a Keras file's network the preceding layer, its class, and the epsilon."""
    from ckpttool.formats.keras.files import is_whole_model
    from ckpttool.formats.keras.network import read_network

    if ckpt.path is None or not ckpt.path.is_file() or not is_whole_model(ckpt.path):
        return []
    try:
        architecture = read_network(ckpt.path).architecture
    except CkptError as error:
        raise PlanError(f"{error}; pairs 'CONV=BN, epsilon=1e-3' specify what is folded") from error
    told = dict(_normalised(architecture))
    by_end: dict[str, list[str]] = {}
    for layer in _layers(ckpt):
        by_end.setdefault(components(layer)[-1].lstrip("/."), []).append(layer)
    answers = []
    for layer in norms(ckpt):
        before, kind, epsilon = told.get(components(layer)[-1].lstrip("/."), (None, "", TENSORFLOW))
        found = by_end.get(before or "", [])
        answers.append((found[0] if len(found) == 1 else None, kind, epsilon))
    return answers


def _normalised(architecture: Mapping[str, Any]) -> Iterator[tuple[str, tuple[str | None, str, float]]]:
    """Yield each normalisation of a Keras network, with the layer whose plain outputs only it reads (or None)."""
    from ckpttool.formats.keras.connections import layers_before, models_within, references

    for model, _ in models_within(architecture):
        own = model["config"]
        layers = {layer["config"]["name"]: layer for layer in own["layers"]}
        before = layers_before(model)
        outputs = {name for name, _ in references(own.get("output_layers", []))} or set(list(layers)[-1:])
        readers = [name for names in before.values() for name in names]
        for name, layer in layers.items():
            if layer["class_name"] != "BatchNormalization":
                continue
            above = _single(before.get(name, ()))
            whole = layers.get(above or "", {})
            plain = whole.get("config", {}).get("activation") in (None, "linear")
            alone = readers.count(above or "") == 1 and above not in outputs
            epsilon = float(layer["config"].get("epsilon", TENSORFLOW))
            yield name, (above if plain and alone else None, str(whole.get("class_name", "")), epsilon)


def _single(names: Sequence[str]) -> str | None:
    return names[0] if len(names) == 1 else None
