"""An adapter that was read: which factors belong together, and which weights of a model they change.

PEFT names the module in the model (`base_model.model.layers.0.q_proj.lora_A.weight`), kohya's scripts the same with
underscores for its dots, behind a word for the part of the model (`lora_unet_..._to_q.lora_down.weight`).
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.checkpoint import Checkpoint
from ckpttool.core.errors import FormatError, MissingFile, PlanError, UnknownName
from ckpttool.core.names import listed, suggestion
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
"""kohya's names of parts by PEFT's."""


@dataclass(frozen=True)
class Adapter:
    """An adapter: the parts of each module, the tensors that were trained whole, and what scales the parts."""

    tensors: Checkpoint
    modules: Mapping[str, Mapping[str, Tensor]]
    whole: Mapping[str, Tensor]
    config: AdapterConfig
    flat: bool = False
    """Whether modules are named with underscores for dots."""

    @classmethod
    def open(cls, path: Path) -> "Adapter":
        """Open an adapter: a folder with `adapter_model.safetensors` and `adapter_config.json`, or a file of weights.

        Raises:
            MissingFile: there is none.
            FormatError: nothing in it is named as the parts of LoRA, DoRA or IA3 are.
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
        """Sort the tensors of an adapter.

        Raises:
            FormatError: nothing in it is named as the parts of LoRA, DoRA or IA3 are.
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
                f"{tensors.path}: no tensor is named like a part of LoRA, DoRA or IA3:  {listed(list(tensors), 3)}"
            )
        return cls(tensors, modules, whole, config or AdapterConfig(), flat)

    def changes(self, base: Checkpoint, scale: float = 1.0) -> dict[str, Change]:
        """Return what it does to each weight of a model that it changes; `scale` multiplies what it adds.

        Raises:
            UnknownName: the model has no such weight.
            PlanError: a part is missing, or of another shape than the weight needs.
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
        """Yield the weights of a module, and what is done to them."""
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
        """Return the number that lies beside a layer's factors."""
        try:
            return float(tensor.read().reshape(()))
        except (TypeError, ValueError) as error:
            found = f"{tensor.dtype} {list(tensor.shape)}"
            raise FormatError(f"{self.tensors.path}: the alpha of {module} is {found}, expected a number") from error

    def _part(self, module: str, parts: Mapping[str, Tensor], name: str) -> Tensor:
        if name not in parts:
            raise PlanError(f"{self.tensors.path}: {module} has {listed(sorted(parts))}, but no {name}")
        return parts[name]


@dataclass(frozen=True)
class _Places:
    """The names of a model's tensors, as an adapter may have them."""

    base: Checkpoint
    flat: bool
    names: Mapping[str, str]
    """Each name as the adapter would write it, with the model's."""

    @classmethod
    def of(cls, base: Checkpoint, flat: bool) -> "_Places":
        return cls(base, flat, {(_flat(name) if flat else name): name for name in base})

    def find(self, name: str) -> str:
        """Return the model's name of a tensor: the same, or the only one of which one is the end of the other.

        Raises:
            UnknownName: there is none.
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
    """Return a name as kohya's scripts write it, but for its last part."""
    module, dot, last = name.rpartition(".")
    return f"{module.replace('.', '_')}{dot}{last}"
