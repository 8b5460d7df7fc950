"""Reading adapters: which factors belong together, and which weights of a model they change.

PEFT's names contain the module's path (`base_model.model.layers.0.q_proj.lora_A.weight`); kohya's scripts replace its
dots by underscores, after a prefix for the part of the model (`lora_unet_..._to_q.lora_down.weight`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import FormatError, MissingFile, PlanError, UnknownName
from ckpttool.core.names import listed
from ckpttool.core.suggestions import suggestion
from ckpttool.core.tensors import Tensor
from ckpttool.surgery.adapters.changes import Change, Embedding, LowRank, Replaced, Scaled
from ckpttool.surgery.adapters.config import WEIGHTS, AdapterConfig

_ROOT = re.compile(r"^base_model\.model\.")
_PEFT = re.compile(
    r"(?P<module>.+)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector|ia3_l)"
    r"(?:\.(?!weight$)\w+)?(?:\.weight)?$"
)
_KOHYA = re.compile(
    r"lora_(?:unet|te\d?|transformer|prior)_(?P<module>.+?)\.(?P<part>lora_down|lora_up|alpha|dora_scale)(?:\.weight)?$"
)
_WHOLE = re.compile(r"\.(?:modules_to_save(?:\.default)?|base_layer)(?=\.)")
_PARTS = {"lora_down": "lora_A", "lora_up": "lora_B", "dora_scale": "lora_magnitude_vector"}
"""kohya's names of parts, with PEFT's."""


@dataclass(frozen=True)
class Adapter:
    """An adapter: the parts of each module, the tensors that were trained as a whole, and the configuration."""

    tensors: Checkpoint
    modules: Mapping[str, Mapping[str, Tensor]]
    whole: Mapping[str, Tensor]
    config: AdapterConfig
    flat: bool = False
    """Whether module names have underscores instead of dots."""

    @classmethod
    def open(cls, path: Path) -> "Adapter":
        """Open an adapter: a folder with `adapter_model.safetensors` and `adapter_config.json`, or a file of weights.

        Raises:
            MissingFile: there is none.
            FormatError: no tensor in it is named like a part of LoRA, DoRA or IA3.
        """
        file = path
        if path.is_dir():
            found = [path / name for name in WEIGHTS if (path / name).is_file()]
            if not found:
                raise MissingFile(f"{path} has no {' and no '.join(WEIGHTS)}")
            file = found[0]
        tensors = checkpoint.open(file)
        return cls.of(tensors, AdapterConfig.beside(file, tensors.metadata))

    @classmethod
    def of(cls, tensors: Checkpoint, config: AdapterConfig | None = None) -> "Adapter":
        """Return the adapter for its tensors, grouped by module.

        Raises:
            FormatError: no tensor is named like a part of LoRA, DoRA or IA3.
        """
        modules: dict[str, dict[str, Tensor]] = {}
        whole: dict[str, Tensor] = {}
        flat = False
        for name, tensor in tensors.items():
            if match := _KOHYA.fullmatch(name):
                flat = True
            elif not (match := _PEFT.fullmatch(_ROOT.sub("", name))):
                whole[_WHOLE.sub("", _ROOT.sub("", name))] = tensor
                continue
            modules.setdefault(match["module"], {})[_PARTS.get(match["part"], match["part"])] = tensor
        if not modules:
            raise FormatError(
                f"{tensors.path}: no tensor is named like a part of LoRA, DoRA or IA3: {listed(list(tensors), 3)}"
            )
        return cls(tensors, modules, whole, config or AdapterConfig(), flat)

    def changes(self, base: Checkpoint, scale: float = 1.0) -> dict[str, Change]:
        """Return the change of each weight of a model that the adapter changes, multiplied by `scale`.

        Raises:
            UnknownName: the model has no such weight.
            PlanError: a part is missing, or does not fit the weight's shape.
        """
        places = _Places.of(base, self.flat)
        found: dict[str, Change] = {}
        for module, parts in self.modules.items():
            for name, change in self._of_module(module, parts, places, scale):
                change.require_fits(base[name])
                found[name] = change
        for name, tensor in self.whole.items():
            change = Replaced(tensor)
            change.require_fits(base[place := places.find(name)])
            found[place] = change
        return found

    def _of_module(
        self, module: str, parts: Mapping[str, Tensor], places: "_Places", scale: float
    ) -> Iterator[tuple[str, Change]]:
        """Yield the names of a module's weights, with their changes."""
        weight = module if module in places.base else places.find(f"{module}.weight")
        if vector := parts.get("ia3_l"):
            self._require_sizes(module, vector)
            of_inputs = self.config.scales_inputs(module, vector.shape)
            bias = f"{weight.removesuffix('weight')}bias"
            yield weight, Scaled(vector, of_inputs, scale)
            if not of_inputs and bias in places.base:
                yield bias, Scaled(vector, of_inputs, scale)
            return
        embedding = "lora_embedding_A" in parts
        down, up = (self._part(module, parts, f"lora_embedding_{x}" if embedding else f"lora_{x}") for x in "AB")
        self._require_sizes(module, down, up)
        alpha = self._alpha(module, parts["alpha"]) if "alpha" in parts else None
        size = scale * self.config.scale_of(module, down.shape[0], alpha)
        if embedding:
            yield weight, Embedding(up, down, size)
        else:
            yield weight, LowRank(up, down, size, parts.get("lora_magnitude_vector"), self.config.fan_in_fan_out)

    def _require_sizes(self, module: str, *factors: Tensor) -> None:
        for each in factors:
            if not each.shape or 0 in each.shape:
                raise FormatError(
                    f"{self.tensors.path}: a factor of {module} is {list(each.shape)}, which is not a matrix"
                )

    def _alpha(self, module: str, tensor: Tensor) -> float:
        """Return the value of a layer's alpha tensor."""
        values = tensor.read()
        try:
            return float(values.reshape(()))
        except (TypeError, ValueError) as error:
            found = f"{tensor.dtype} {list(tensor.shape)}"
            raise FormatError(f"{self.tensors.path}: the alpha of {module} is {found}, expected a number") from error

    def _part(self, module: str, parts: Mapping[str, Tensor], name: str) -> Tensor:
        if name not in parts:
            raise PlanError(f"{self.tensors.path}: {module} has {listed(sorted(parts))}, but no {name}")
        return parts[name]


@dataclass(frozen=True)
class _Places:
    """The names of a model's tensors in the adapter's notation."""

    base: Checkpoint
    flat: bool
    names: Mapping[str, str]
    """The names in the adapter's notation, with the model's names."""

    @classmethod
    def of(cls, base: Checkpoint, flat: bool) -> "_Places":
        return cls(base, flat, {(_flat(name) if flat else name): name for name in base})

    def find(self, name: str) -> str:
        """Return the model's name for a tensor: the same, or the only one such that one name ends with the other.

        Raises:
            UnknownName: there is no such name.
            PlanError: there are several.
        """
        wanted = _flat(name) if self.flat else name
        if wanted in self.names:
            return self.names[wanted]
        sign = "_" if self.flat else "."
        ends = [
            own
            for key, own in self.names.items()
            if key.endswith(f"{sign}{wanted}") or ("." in key and wanted.endswith(f"{sign}{key}"))
        ]
        if len(ends) > 1:
            raise PlanError(f"{self.base.path}: the adapter's {name} matches several tensors: {listed(ends)}")
        if not ends:
            near = suggestion(name, self.base)
            raise UnknownName(f"{self.base.path}: no tensor matches the adapter's {name}{near}")
        return ends[0]


def _flat(name: str) -> str:
    """Return a name in the notation of kohya's scripts, except for its last part."""
    module, dot, last = name.rpartition(".")
    return f"{module.replace('.', '_')}{dot}{last}"
