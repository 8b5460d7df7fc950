"""Checkpoints: named tensors with edits as methods, each of which returns a new checkpoint."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ckpttool.checkpoint.number_edits import NumberEdits
from ckpttool.core.errors import CkptError
from ckpttool.core.patterns import Pattern
from ckpttool.core.variable_kinds import OBJECT_GRAPH

_log = logging.getLogger(__name__)


class Checkpoint(NumberEdits):
    r"""A lazy mapping of names to tensors, with edits as methods; values are read when a tensor is read.

    Patterns match weights, by whole name components from the root; `slots=True` adds the optimizer's tensors. The slots
    of a variable are edited with it. An impossible edit raises an error at once, an impossible value when it is read.
    The methods are the edits of `ckpttool edit`, and are documented in more detail on its page.

    >>> import numpy as np
    >>> ckpt = Checkpoint.of({"hidden1/bias": np.zeros(3, np.float32), "outputs/bias": np.zeros(2, np.float32)})
    >>> list(ckpt.select("hidden1").rename({"hidden(.)": r"layer\1"}))
    ['layer1/bias']
    """

    def edit(self, name: str, text: str = "", **settings: Any) -> "Checkpoint":
        """Return the checkpoint after an edit, specified by name and text as on the command line and in plans.

        >>> import numpy as np
        >>> Checkpoint.of({"fc/bias": np.ones(2)}).edit("scale", "fc=0.5")["fc/bias"].read().tolist()
        [0.5, 0.5]

        Args:
            name: The edit's name, such as `fold-adapter`.
            text: The edit's value, such as `RE=0.5`; empty if it has none.
            settings: `slots`, `allow_truncate` or `seed`, for edits that accept them.

        Raises:
            UnknownName: the edit does not exist, or matches nothing.
            CkptError: the text is invalid, or the edit is refused.
        """
        from ckpttool.surgery.edits.steps import Step  # surgery is a higher floor, which imports this one

        edited, remarks = Step(name.replace("_", "-"), text).apply(self, settings)
        for remark in remarks:
            _log.info("%s", remark)
        return edited

    # Selection and names.

    def select(self, pattern: str) -> "Checkpoint":
        """Keep the tensors of any kind whose own names match a pattern, and the object graph that maps them to objects.

        Raises:
            UnknownName: the pattern matches nothing.
        """
        selected = self.only({*Pattern(pattern).select(self), OBJECT_GRAPH})
        try:
            same = list(self.keep(pattern)) == list(selected)
        except CkptError:
            same = False
        return selected.after(f"keep {pattern}", {"keep": pattern} if same else None)

    def keep(self, pattern: str) -> "Checkpoint":
        """Keep the weights that match a pattern, with their slots.

        >>> import numpy as np
        >>> names = ["hidden1/kernel", "hidden1/kernel/Momentum", "outputs/kernel"]
        >>> list(Checkpoint.of(dict.fromkeys(names, np.zeros(2))).keep("hidden1/kernel"))
        ['hidden1/kernel', 'hidden1/kernel/Momentum']
        """
        return self.edit("keep", pattern)

    def drop(self, pattern: str) -> "Checkpoint":
        """Drop the weights that match a pattern, with their slots.

        >>> import numpy as np
        >>> list(Checkpoint.of({"hidden1/bias": np.zeros(3), "outputs/bias": np.zeros(2)}).drop("hidden."))
        ['outputs/bias']
        """
        return self.edit("drop", pattern)

    def drop_slots(self) -> "Checkpoint":
        """Drop the optimizer's slots; step counters are kept.

        >>> import numpy as np
        >>> list(Checkpoint.of({"fc/bias": np.zeros(2), "fc/bias/Adam": np.zeros(2)}).drop_slots())
        ['fc/bias']
        """
        return self.edit("drop-slots")

    def rename(self, rules: Mapping[str, str]) -> "Checkpoint":
        r"""Rename tensors by rules `{pattern: replacement}`; patterns match whole name components from the root.

        The first rule that matches a name is applied; the rest of the name is kept, and slots are renamed with their
        variables. `{"hidden(.)": r"layer\1"}` renames `hidden1/kernel` to `layer1/kernel`. The object graph keeps its
        own name, and is written with the new names.

        Raises:
            UnknownName: a rule matches nothing.
            PlanError: two tensors would get the same name; the message names both.
            CkptError: a pattern or a replacement is not valid in a regular expression.
        """
        return self.edit("rename", "; ".join(f"{pattern}=>{new}" for pattern, new in rules.items()))

    def copy(self, pattern: str, new: str) -> "Checkpoint":
        r"""Add copies of the weights that match a pattern; in the new name, `\1` is a group of the pattern.

        >>> import numpy as np
        >>> list(Checkpoint.of({"hidden1/bias": np.zeros(3)}).copy("hidden1", "hidden2"))
        ['hidden1/bias', 'hidden2/bias']
        """
        return self.edit("copy", f"{pattern}=>{new}")

    def add_prefix(self, scope: str) -> "Checkpoint":
        """Add a prefix to every name.

        >>> import numpy as np
        >>> list(Checkpoint.of({"hidden1/bias": np.zeros(3)}).add_prefix("model"))
        ['model/hidden1/bias']
        """
        return self.edit("add-prefix", scope)

    def strip_prefix(self, scope: str) -> "Checkpoint":
        """Remove a prefix from every name.

        >>> import numpy as np
        >>> list(Checkpoint.of({"module.fc.bias": np.zeros(3)}).strip_prefix("module"))
        ['fc.bias']
        """
        return self.edit("strip-prefix", scope)

    # Shapes.

    def transpose(self, pattern: str, order: Sequence[int], slots: bool = False) -> "Checkpoint":
        """Transpose dimensions, in the order that NumPy's `transpose` accepts.

        >>> import numpy as np
        >>> Checkpoint.of({"fc/kernel": np.zeros((2, 3))}).transpose("fc/kernel", (1, 0))["fc/kernel"].shape
        (3, 2)
        """
        return self.edit("transpose", f"{pattern}={_listed(order)}", slots=slots)

    def reshape(self, pattern: str, shape: Sequence[int], slots: bool = False) -> "Checkpoint":
        """Reshape tensors; one size may be -1.

        >>> import numpy as np
        >>> Checkpoint.of({"fc/kernel": np.zeros((2, 3, 4))}).reshape("fc/kernel", (6, -1))["fc/kernel"].shape
        (6, 4)
        """
        return self.edit("reshape", f"{pattern}={_listed(shape)}", slots=slots)

    def slice(
        self, pattern: str, axis: int, start: int | None = None, stop: int | None = None, slots: bool = False
    ) -> "Checkpoint":
        """Keep the elements along an axis from `start` up to, but excluding, `stop`.

        >>> import numpy as np
        >>> Checkpoint.of({"fc/bias": np.arange(4)}).slice("fc", 0, 1, 3)["fc/bias"].read().tolist()
        [1, 2]
        """
        first, end = ("" if each is None else each for each in (start, stop))
        return self.edit("slice", f"{pattern}={axis}:{first}:{end}", slots=slots)

    def pad(
        self, pattern: str, axis: int, before: int = 0, after: int = 0, value: float = 0, slots: bool = False
    ) -> "Checkpoint":
        """Pad an axis with a value at the start and the end; slots are padded with zeros.

        >>> import numpy as np
        >>> Checkpoint.of({"fc/bias": np.arange(2)}).pad("fc", 0, after=2, value=9)["fc/bias"].read().tolist()
        [0, 1, 9, 9]
        """
        return self.edit("pad", f"{pattern}={axis}:{before},{after}:{value}", slots=slots)

    def resize(
        self,
        pattern: str,
        size: int,
        axis: int = 0,
        fill: str = "mean",
        *,
        allow_truncate: bool = False,
        seed: int = 42,
        slots: bool = False,
    ) -> "Checkpoint":
        """Resize an axis, and biases with it; `fill`: `mean`, `zeros`, `normal` (by `seed`), `rows([0, 1])`.

        >>> import numpy as np
        >>> grown = Checkpoint.of({"embeddings": np.array([[1.0], [3.0]])}).resize("embeddings", 3)
        >>> grown["embeddings"].read().tolist()
        [[1.0], [3.0], [2.0]]
        """
        text = f"{pattern} = to({size}, axis={axis}, fill={fill})"
        return self.edit("resize", text, allow_truncate=allow_truncate, seed=seed, slots=slots)

    def reduce(self, pattern: str, how: str, axis: int, keep: bool = True, slots: bool = False) -> "Checkpoint":
        """Reduce an axis by `sum` or `mean`; its size becomes 1, or the axis is removed with `keep=False`.

        >>> import numpy as np
        >>> colours = Checkpoint.of({"conv1/kernel": np.ones((3, 3, 3, 64), np.float32)})
        >>> colours.reduce("conv1/kernel", "sum", axis=2)["conv1/kernel"].shape
        (3, 3, 1, 64)
        """
        return self.edit("reduce", f"{pattern}={how}(axis={axis}, keep={keep})", slots=slots)

    def split_parts(
        self, pattern: str, parts: Sequence[str], axis: int = 0, heads: int = 1, sizes: Sequence[int] = ()
    ) -> "Checkpoint":
        """Split tensors along an axis, or within each head; the last matched component becomes the name of each part.

        >>> import numpy as np
        >>> fused = Checkpoint.of({"h.0.c_attn.weight": np.zeros((2, 6))})
        >>> list(fused.split_parts(".*c_attn", ["q", "k", "v"], axis=-1))
        ['h.0.q.weight', 'h.0.k.weight', 'h.0.v.weight']
        """
        own = f", sizes={':'.join(map(str, sizes))}" if sizes else ""
        return self.edit("split-parts", f"{pattern}={','.join(parts)}, axis={axis}, heads={heads}{own}")

    def fuse_parts(self, pattern: str, parts: Sequence[str], new: str, axis: int = 0, heads: int = 1) -> "Checkpoint":
        """Concatenate the parts in each scope that matches a pattern along an axis; the inverse of `split_parts`.

        >>> import numpy as np
        >>> parts = Checkpoint.of({f"h.0.{part}.weight": np.zeros((2, 2)) for part in "qkv"})
        >>> list(parts.fuse_parts(".*", ["q", "k", "v"], "c_attn", axis=-1))
        ['h.0.c_attn.weight']
        """
        return self.edit("fuse-parts", f"{pattern}={','.join(parts)}=>{new}, axis={axis}, heads={heads}")

    def layout(self, pattern: str, layout: str, slots: bool = False) -> "Checkpoint":
        """Convert kernels from PyTorch's layout to TensorFlow's, by any layout of `import`: `conv`, `flatten(64)`, ...

        >>> import numpy as np
        >>> Checkpoint.of({"conv.weight": np.zeros((8, 3, 5, 5))}).layout("conv.weight", "conv")["conv.weight"].shape
        (5, 5, 3, 8)
        """
        return self.edit("layout", f"{pattern}={layout}", slots=slots)

    def layout_back(self, pattern: str, layout: str, slots: bool = False) -> "Checkpoint":
        """Convert kernels from TensorFlow's layout to PyTorch's; the inverse of `layout`.

        >>> import numpy as np
        >>> Checkpoint.of({"fc.weight": np.zeros((784, 300))}).layout_back("fc.weight", "dense")["fc.weight"].shape
        (300, 784)
        """
        return self.edit("layout-back", f"{pattern}={layout}", slots=slots)


def _listed(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))
