"""Activations and initialisers by name: what SPEC may say of a layer besides its kind."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Activation:
    """An activation's name and its parameters, all of them."""

    name: str
    parameters: dict[str, float] = field(default_factory=dict)


ACTIVATIONS: dict[str, dict[str, float]] = {
    "linear": {},
    "relu": {},
    "leaky_relu": {"alpha": 0.01},
    "rrelu": {"lower": 1 / 8, "upper": 1 / 3},
    "elu": {"alpha": 1.0},
    "selu": {},
    "gelu": {},
    "swish": {},
    "tanh": {},
    "sigmoid": {},
    "softplus": {},
}
"""Activations, with their parameters' defaults; `None` is linear. The slopes of rrelu are those of Xu et al. 2015."""

INITS = {
    **{f"{name}_{kind}": f"{name}_{kind}" for name in ("glorot", "he", "lecun") for kind in ("uniform", "normal")},
    "glorot": "glorot_uniform",
    "xavier": "glorot_uniform",
    "xavier_uniform": "glorot_uniform",
    "xavier_normal": "glorot_normal",
    "he": "he_normal",
    "lecun": "lecun_normal",
}
"""Initialisers by the names that may be given: plain glorot is uniform, as TensorFlow's layers have it, and plain he
and lecun are truncated normal, as its `variance_scaling_initializer` has it."""
