"""Which convolution or dense layer a batch normalisation follows: by the network where the file has it, else by names.

A state dict says nothing of what is computed between two layers. PyTorch's conventions do: `conv1` and `bn1`, `0` and
`1` of a Sequential, layers that a module registers one after the other; slim puts the normalisation into the layer's
scope. Whatever is left open is refused, for a wrong pair would compute something else without a word.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.core.names import components, listed, scopes, suggestion
from ckpttool.core.pattern_cost import compiled, quick
from ckpttool.formats import registry

_KERNELS = ("weight", "kernel", "pointwise_kernel", "depthwise_kernel", "weights", "depthwise_weights")
"""What a layer calls its kernel; of a separable convolution the second one counts."""
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
"""The epsilons that PyTorch, and Keras and tf.layers, take where none is given."""


@dataclass(frozen=True)
class Norm:
    """A batch normalisation: its layer, its tensors by their part, and its epsilon where the file says it."""

    layer: str
    parts: Mapping[str, str]
    epsilon: float | None = None

    @property
    def is_torch(self) -> bool:
        """Whether it is named as PyTorch names it."""
        return self.parts["variance"].endswith("running_var")


@dataclass(frozen=True)
class NormPair:
    """A layer's kernel, its bias (there or to be made), and the normalisation that follows; `kind` is Keras's class."""

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
    """Return the epsilons that the ops of a file say, by the tensors' names there."""
    if ckpt.format is None or ckpt.path is None:
        return {}
    said = registry.get(ckpt.format).arrangements(ckpt.path)
    return {name: each.epsilon for name, each in said.items() if each.epsilon is not None}


def given_pairs(ckpt: Checkpoint, pattern: str, template: str) -> list[NormPair]:
    r"""Return the pairs that `CONV=BN` says: a pattern for layers, and the normalisation behind each, with its groups.

    Raises:
        UnknownName: the pattern takes no layer with a kernel, or there is no such normalisation.
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
        UnknownName: there is none.
        PlanError: it is not clear what one follows.
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
    """Return the kernels of layers that may be followed, by their layers."""
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
    """Say whether a layer is called as transposed convolutions are, whose kernels have their outputs second.

    >>> is_transposed("decoder.upconv1"), is_transposed("conv1")
    (True, False)
    """
    return re.search("transp|deconv|up", layer, re.IGNORECASE) is not None


def _by_names(ckpt: Checkpoint, norm: Norm, layers: Mapping[str, str]) -> str | None:
    """Return the layer that a normalisation follows by PyTorch's conventions, or slim's; None where they do not say."""
    own = components(norm.layer)
    scope, last = "".join(own[:-1]), own[-1].lstrip("/.")
    if scope in layers:
        return scope
    if not norm.is_torch:
        return None  # Keras's layers may have an activation of their own before the normalisation
    channels = ckpt[norm.parts["variance"]].spec.elements
    beside = [each for each in layers if each != norm.layer and "".join(components(each)[:-1]) == scope]
    fitting = [each for each in beside if channels in ckpt[layers[each]].shape[: 1 + is_transposed(each)]]
    if ckpt.format == "torch":  # which keeps the order in which modules are registered
        order = list(scopes(ckpt))
        before = order[order.index(norm.layer) - 1] if order.index(norm.layer) else ""
        return before if before in fitting and _follows(components(before)[-1].lstrip("/."), last) else None
    named = [each for each in beside if _same_but_for_kind(components(each)[-1].lstrip("/."), last)]
    return named[0] if len(named) == 1 and named[0] in fitting else None


def _follows(layer: str, norm: str) -> bool:
    """Say whether nothing stands between two entries of a Sequential; names that are not numbers do not tell."""
    return not (layer.isdecimal() and norm.isdecimal()) or int(layer) + 1 == int(norm)


def _same_but_for_kind(layer: str, norm: str) -> bool:
    """Say whether names are one another's but for the words of their kinds, or numbers that follow one another.

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
    """Return what the network in a Keras file says of each normalisation: the layer before, its class, the epsilon."""
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
    """Yield each normalisation of a Keras network with the layer whose plain outputs it alone takes, if any."""
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
