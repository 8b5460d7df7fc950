"""The methods of a checkpoint that compute values: cast, scale, clamp, prune, quantise, and folds into weights."""

from abc import abstractmethod
from os import PathLike, fspath
from typing import Any, Self

from ckpttool.checkpoint.named_tensors import NamedTensors
from ckpttool.core.errors import PlanError


class NumberEdits(NamedTensors):
    """The edits of values of a `Checkpoint`, a method each."""

    @abstractmethod
    def edit(self, name: str, text: str = "", **settings: Any) -> Self:
        """Return the checkpoint after an edit, specified by name and text."""

    def cast(self, dtype: str, pattern: str | None = None, slots: bool = False) -> Self:
        """Cast the floating-point weights, or the tensors that match a pattern, to a dtype.

        >>> import numpy as np
        >>> from ckpttool import Checkpoint
        >>> Checkpoint.of({"fc/bias": np.ones(2), "step": np.array(1)}).cast("float16").specs()[0].dtype.name
        'float16'

        Raises:
            CkptError: the dtype does not exist; when a tensor is read, that a value overflows.
        """
        return self.edit("cast", dtype if pattern is None else f"{pattern}={dtype}", slots=slots)

    def scale(self, pattern: str, factor: float, slots: bool = False) -> Self:
        """Multiply the weights that match a pattern by a factor.

        >>> import numpy as np
        >>> from ckpttool import Checkpoint
        >>> Checkpoint.of({"fc/bias": np.array([1.0, -3.0])}).scale("fc", 0.5)["fc/bias"].read().tolist()
        [0.5, -1.5]
        """
        return self.edit("scale", f"{pattern}={factor}", slots=slots)

    def clamp(self, pattern: str, low: float, high: float, slots: bool = False) -> Self:
        """Clamp values between two bounds, which may be infinite.

        >>> import numpy as np
        >>> from ckpttool import Checkpoint
        >>> Checkpoint.of({"fc/bias": np.array([1.0, -3.0])}).clamp("fc", -1, np.inf)["fc/bias"].read().tolist()
        [1.0, -1.0]
        """
        return self.edit("clamp", f"{pattern}={low},{high}", slots=slots)

    def prune(
        self, pattern: str, share: float | None = None, *, below: float | None = None, slots: bool = False
    ) -> Self:
        """Set the smallest magnitudes to zero: a fraction of each tensor, 0 to 1, or all `below` a bound.

        >>> import numpy as np
        >>> from ckpttool import Checkpoint
        >>> Checkpoint.of({"fc/bias": np.array([0.1, -3.0])}).prune("fc", 0.5)["fc/bias"].read().tolist()
        [0.0, -3.0]

        Raises:
            PlanError: both or neither are given.
        """
        if (share is None) == (below is None):
            raise PlanError("`prune` requires either `share`, a fraction of the elements, or `below`, a bound")
        return self.edit("prune", f"{pattern}={share if below is None else f'magnitude({below})'}", slots=slots)

    def set(self, name: str, value: float | str | PathLike[str], key: str | None = None) -> Self:
        """Replace a tensor's values: by one number, by those of an `.npy`, or by the tensor `key` of a file.

        >>> import numpy as np
        >>> from ckpttool import Checkpoint
        >>> Checkpoint.of({"fc/bias": np.array([1.0, 2.0])}).set("fc/bias", 0.5)["fc/bias"].read().tolist()
        [0.5, 0.5]
        """
        given = value if isinstance(value, int | float) else fspath(value)
        return self.edit("set", f"{name}={given}" if key is None else f"{name}={given}:{key}")

    def ema(self) -> Self:
        """Replace weights by their moving averages.

        >>> import numpy as np
        >>> from ckpttool import Checkpoint
        >>> names = {"fc": np.zeros(2), "fc/ExponentialMovingAverage": np.ones(2)}
        >>> Checkpoint.of(names).ema()["fc"].read().tolist()
        [1.0, 1.0]
        """
        return self.edit("ema")

    def quantise(self, dtype: str, pattern: str | None = None, slots: bool = False) -> Self:
        """Quantise floats to `float16`, `bfloat16`, or (kernels) `int8` with a scale.

        >>> import numpy as np
        >>> from ckpttool import Checkpoint
        >>> list(Checkpoint.of({"fc/kernel": np.ones((2, 3), np.float32)}).quantise("int8"))
        ['fc/kernel', 'fc/kernel/scale']
        """
        return self.edit("quantise", dtype if pattern is None else f"{pattern}={dtype}", slots=slots)

    def dequantise(self, dtype: str, pattern: str | None = None) -> Self:
        """Convert tensors that `quantise` made int8 back to floats.

        >>> import numpy as np
        >>> from ckpttool import Checkpoint
        >>> small = Checkpoint.of({"fc/kernel": np.ones((2, 3), np.float32)}).quantise("int8")
        >>> list(small.dequantise("float32"))
        ['fc/kernel']
        """
        return self.edit("dequantise", dtype if pattern is None else f"{pattern}={dtype}")

    def fold_adapter(self, adapter: str | PathLike[str], scale: float = 1.0) -> Self:
        """Merge an adapter (LoRA, DoRA, IA3; of PEFT or kohya) into the weights, times `scale`; a folder or a file.

        >>> import ckpttool, numpy as np, tempfile
        >>> file, base = f"{tempfile.mkdtemp()}/lora.safetensors", {"fc.weight": np.zeros((2, 3), np.float32)}
        >>> lora = {"lora_up.weight": np.ones((2, 1)), "lora_down.weight": np.ones((1, 3)), "alpha": np.array(1.0)}
        >>> ckpttool.save({f"lora_unet_fc.{part}": values for part, values in lora.items()}, file)
        >>> ckpttool.Checkpoint.of(base).fold_adapter(file, scale=0.5)["fc.weight"].read().tolist()
        [[0.5, 0.5, 0.5], [0.5, 0.5, 0.5]]
        """
        return self.edit("fold-adapter", f"{fspath(adapter)}={scale}")

    def fold_batch_norm(
        self,
        layers: str | None = None,
        norms: str | None = None,
        *,
        epsilon: float | None = None,
        axis: int | None = None,
    ) -> Self:
        r"""Fold batch normalisations into the layers before them; `layers` and `norms` pair them if names do not.

        >>> import numpy as np
        >>> from ckpttool import Checkpoint
        >>> parts = {"weight": 2.0, "bias": 1.0, "running_mean": 3.0, "running_var": 4.0}
        >>> norm = {f"bn1.{part}": np.array([value]) for part, value in parts.items()}
        >>> net = Checkpoint.of({"conv1.weight": np.ones((1, 2, 1, 1)), **norm})
        >>> list(net.fold_batch_norm(r"conv(\d)", r"bn\1", epsilon=1e-3))
        ['conv1.weight', 'conv1.bias']

        Raises:
            PlanError: only one of `layers` and `norms` is given, or the layer before a normalisation is ambiguous.
        """
        if (layers is None) != (norms is None):
            raise PlanError("`layers` and `norms` specify pairs together: give both, or neither")
        pairs = [] if layers is None else [f"{layers}={norms}"]
        given = {"epsilon": epsilon, "axis": axis}
        own = [f"{key}={value}" for key, value in given.items() if value is not None]
        return self.edit("fold-batch-norm", ", ".join([*pairs, *own]))

    def fold_parametrisations(self) -> Self:
        """Replace PyTorch's parametrised weights (weight norm, spectral norm, pruning) by the weights they compute.

        >>> import numpy as np
        >>> from ckpttool import Checkpoint
        >>> parts = {"fc.weight_g": np.full((1, 1), 5.0), "fc.weight_v": np.array([[3.0, 4.0]])}
        >>> Checkpoint.of(parts).fold_parametrisations()["fc.weight"].read().tolist()
        [[3.0, 4.0]]
        """
        return self.edit("fold-parametrisations")
