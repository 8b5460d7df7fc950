"""An adapter's configuration: PEFT's `adapter_config.json`, or kohya's alphas among the weights.

The scale of a layer's change is alpha / rank, or alpha / sqrt(rank) if it is rank-stabilised (Kalajdzievski 2023,
arXiv:2312.03732). The files: https://huggingface.co/docs/peft/developer_guides/checkpoint.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ckpttool.core.errors import FormatError
from ckpttool.core.pattern_cost import compiled, quick
from ckpttool.formats.wire import strict_json

CONFIG = "adapter_config.json"
WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
METADATA = "adapter_config"
"""The key of a weights file's metadata that contains the configuration."""
KINDS = ("LORA", "IA3")
LARGEST = 1 << 20
"""The maximum size of a configuration in bytes."""


@dataclass(frozen=True)
class AdapterConfig:
    """The scales of a layer's factors; `alpha` is None if each layer has its own alpha, or uses its rank."""

    kind: str = "LORA"
    alpha: float | None = None
    alphas: Mapping[str, float] = field(default_factory=dict)
    rank_stabilised: bool = False
    fan_in_fan_out: bool = False
    feedforward: str | tuple[str, ...] | None = None
    """The modules whose inputs IA3 scales: a pattern for whole names, or a tuple of name endings."""

    @classmethod
    def beside(cls, weights: Path, texts: Mapping[str, str]) -> "AdapterConfig":
        """Read the configuration beside an adapter's weights, or in its metadata; return defaults if there is none.

        Raises:
            FormatError: the configuration is invalid, or the kind of adapter is not supported.
        """
        path = weights.parent / CONFIG
        if not path.is_file() or weights.name not in WEIGHTS:
            if METADATA not in texts:
                return cls()
            path, text = weights, texts[METADATA].encode()
        elif path.stat().st_size > LARGEST:
            raise FormatError(f"{path} has {path.stat().st_size} bytes, at most {LARGEST} are read")
        else:
            text = path.read_bytes()
        try:
            document = strict_json.loads(text)
            return cls.of(document, path)
        except (ValueError, TypeError, AttributeError, OverflowError) as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(f"{path} is not a configuration of an adapter: {error}") from error

    @classmethod
    def of(cls, document: Mapping[str, Any], path: Path) -> "AdapterConfig":
        """Return the configuration for a JSON document.

        Raises:
            FormatError: the kind of adapter is not supported.
            ValueError, TypeError, AttributeError, OverflowError: a value has the wrong type, or is too large.
        """
        kind = document.get("peft_type")
        if kind not in KINDS:
            raise FormatError(f"{path}: peft_type is {kind!r}; known: {', '.join(KINDS)}")
        alphas = {str(key): float(value) for key, value in (document.get("alpha_pattern") or {}).items()}
        return cls(
            kind,
            float(document["lora_alpha"]) if "lora_alpha" in document else None,
            alphas,
            bool(document.get("use_rslora")),
            bool(document.get("fan_in_fan_out")),
            given if isinstance(given := document.get("feedforward_modules"), str) else tuple(map(str, given or ())),
        )

    def scale_of(self, module: str, rank: int, alpha: float | None = None) -> float:
        """Return the factor for the product of a layer's factors; a layer's own `alpha` takes precedence.

        >>> AdapterConfig(alpha=16, alphas={"q_proj": 8}).scale_of("layers.0.q_proj", 4)
        2.0
        """
        if alpha is None:
            alpha = next((value for key, value in self.alphas.items() if _ends_in(key, module)), self.alpha)
        if alpha is None:
            return 1.0
        return alpha / (math.sqrt(rank) if self.rank_stabilised else rank)

    def scales_inputs(self, module: str, shape: tuple[int, ...]) -> bool:
        """Return whether a module's vector scales its inputs; without a configuration, its shape decides."""
        if self.feedforward is None:
            return shape[0] == 1
        if isinstance(self.feedforward, str):
            expression = compiled(self.feedforward)
            return expression.fullmatch(quick(expression, module, self.feedforward)) is not None
        return module.endswith(self.feedforward)


def _ends_in(key: str, module: str) -> bool:
    """Return whether a pattern of the configuration matches a module's last components, as in PEFT."""
    compiled(key)
    expression = re.compile(rf"(?:.*\.)?(?:{key})")
    return expression.fullmatch(quick(expression, module, key)) is not None
