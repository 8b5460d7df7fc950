"""Checkpoints: named tensors with the verbs of surgery as methods, each of which gives another checkpoint."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ckpttool.checkpoint.number_edits import NumberEdits
from ckpttool.core.errors import CkptError
from ckpttool.core.names import Pattern
from ckpttool.core.variable_kinds import OBJECT_GRAPH

_log = logging.getLogger(__name__)


class Checkpoint(NumberEdits):
    r"""Named tensors, and what surgery makes of them; nothing is read before a tensor is.

    Patterns take weights, whole components of names from the root; `slots=True` adds the optimizer's tensors. What an
    edit does to a variable happens to its slots too. What it cannot do is an error at once, of values when they are
    read. The methods are the edits of `ckpttool edit`, whose page says more of each.

    >>> import numpy as np
    >>> ckpt = Checkpoint.of({"hidden1/bias": np.zeros(3, np.float32), "outputs/bias": np.zeros(2, np.float32)})
    >>> list(ckpt.select("hidden1").rename({"hidden(.)": r"layer\1"}))
    ['layer1/bias']
    """

    def edit(self, name: str, text: str = "", **settings: Any) -> "Checkpoint":
        """Make an edit by its name and its text, as the command line and plans have them.

        >>> import numpy as np
        >>> Checkpoint.of({"fc/bias": np.ones(2)}).edit("scale", "fc=0.5")["fc/bias"].read().tolist()
        [0.5, 0.5]

        Args:
            name: The edit's name, such as `fold-adapter`.
            text: Its value, `RE=0.5`; empty where it takes none.
            settings: `slots`, `allow_truncate` or `seed`, for edits that have them.

        Raises:
            UnknownName: no edit has the name, or it takes nothing.
            CkptError: the text is not understood, or the edit is refused.
        """
        from ckpttool.surgery.edits.steps import Step  # the methods are surgery's edits, which begin here

        edited, remarks = Step(name.replace("_", "-"), text).apply(self, settings)
        for remark in remarks:
            _log.info("%s", remark)
        return edited

    # Which tensors there are, and their names.

    def select(self, pattern: str) -> "Checkpoint":
        """Keep the tensors that a pattern takes of all kinds, and the object graph that says where they belong.

        Raises:
            UnknownName: it takes none.
        """
        selected = self.only({*Pattern(pattern).select(self), OBJECT_GRAPH})
        try:
            same = list(self.keep(pattern)) == list(selected)
        except CkptError:
            same = False
        return selected.after(f"keep {pattern}", {"keep": pattern} if same else None)

    def keep(self, pattern: str) -> "Checkpoint":
        """Keep the tensors that a pattern takes, with their slots.

        >>> import numpy as np
        >>> names = ["hidden1/kernel", "hidden1/kernel/Momentum", "outputs/kernel"]
        >>> list(Checkpoint.of(dict.fromkeys(names, np.zeros(2))).keep("hidden1/kernel"))
        ['hidden1/kernel', 'hidden1/kernel/Momentum']
        """
        return self.edit("keep", pattern)

    def drop(self, pattern: str) -> "Checkpoint":
        """Leave out the tensors that a pattern takes, with their slots.

        >>> import numpy as np
        >>> list(Checkpoint.of({"hidden1/bias": np.zeros(3), "outputs/bias": np.zeros(2)}).drop("hidden."))
        ['outputs/bias']
        """
        return self.edit("drop", pattern)

    def drop_slots(self) -> "Checkpoint":
        """Leave out the optimizer's slots; step counters stay.

        >>> import numpy as np
        >>> list(Checkpoint.of({"fc/bias": np.zeros(2), "fc/bias/Adam": np.zeros(2)}).drop_slots())
        ['fc/bias']
        """
        return self.edit("drop-slots")

    def rename(self, rules: Mapping[str, str]) -> "Checkpoint":
        r"""Give tensors new names: each rule's pattern matches whole components from the root, `\1` is its group.

        A name takes the first rule that matches it; what follows the match is kept, and slots follow their variables.
        `{"hidden(.)": r"layer\1"}` makes `layer1/kernel` of `hidden1/kernel`. An object graph keeps its own name, and
        is written with the new ones.

        Raises:
            UnknownName: a rule matches nothing.
            PlanError: two tensors would have one name; the message has both.
            CkptError: a pattern or a replacement is not a regular expression's.
        """
        return self.edit("rename", "; ".join(f"{pattern}=>{new}" for pattern, new in rules.items()))

    def copy(self, pattern: str, new: str) -> "Checkpoint":
        r"""Put a copy beside what a pattern takes, under a new name, in which `\1` is a group of the pattern.

        >>> import numpy as np
        >>> list(Checkpoint.of({"hidden1/bias": np.zeros(3)}).copy("hidden1", "hidden2"))
        ['hidden1/bias', 'hidden2/bias']
        """
        return self.edit("copy", f"{pattern}=>{new}")

    def add_prefix(self, scope: str) -> "Checkpoint":
        """Put a scope before every name.

        >>> import numpy as np
        >>> list(Checkpoint.of({"hidden1/bias": np.zeros(3)}).add_prefix("model"))
        ['model/hidden1/bias']
        """
        return self.edit("add-prefix", scope)

    def strip_prefix(self, scope: str) -> "Checkpoint":
        """Take a scope off every name.

        >>> import numpy as np
        >>> list(Checkpoint.of({"module.fc.bias": np.zeros(3)}).strip_prefix("module"))
        ['fc.bias']
        """
        return self.edit("strip-prefix", scope)

    # Shapes.

    def transpose(self, pattern: str, order: Sequence[int], slots: bool = False) -> "Checkpoint":
        """Put dimensions into another order, as NumPy's `transpose` takes it.

        >>> import numpy as np
        >>> Checkpoint.of({"fc/kernel": np.zeros((2, 3))}).transpose("fc/kernel", (1, 0))["fc/kernel"].shape
        (3, 2)
        """
        return self.edit("transpose", f"{pattern}={_listed(order)}", slots=slots)

    def reshape(self, pattern: str, shape: Sequence[int], slots: bool = False) -> "Checkpoint":
        """Put the same elements into another shape, of which one size may be -1.

        >>> import numpy as np
        >>> Checkpoint.of({"fc/kernel": np.zeros((2, 3, 4))}).reshape("fc/kernel", (6, -1))["fc/kernel"].shape
        (6, 4)
        """
        return self.edit("reshape", f"{pattern}={_listed(shape)}", slots=slots)

    def slice(
        self, pattern: str, axis: int, start: int | None = None, stop: int | None = None, slots: bool = False
    ) -> "Checkpoint":
        """Keep the part along an axis from `start` to before `stop`.

        >>> import numpy as np
        >>> Checkpoint.of({"fc/bias": np.arange(4)}).slice("fc", 0, 1, 3)["fc/bias"].read().tolist()
        [1, 2]
        """
        first, end = ("" if each is None else each for each in (start, stop))
        return self.edit("slice", f"{pattern}={axis}:{first}:{end}", slots=slots)

    def pad(
        self, pattern: str, axis: int, before: int = 0, after: int = 0, value: float = 0, slots: bool = False
    ) -> "Checkpoint":
        """Put a value before and behind the elements along an axis; slots get zeros.

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
        """Give another size along an axis, biases along; `fill`: `mean`, `zeros`, `normal` (by `seed`), `rows([0, 1])`.

        >>> import numpy as np
        >>> grown = Checkpoint.of({"embeddings": np.array([[1.0], [3.0]])}).resize("embeddings", 3)
        >>> grown["embeddings"].read().tolist()
        [[1.0], [3.0], [2.0]]
        """
        text = f"{pattern} = to({size}, axis={axis}, fill={fill})"
        return self.edit("resize", text, allow_truncate=allow_truncate, seed=seed, slots=slots)

    def reduce(self, pattern: str, how: str, axis: int, keep: bool = True, slots: bool = False) -> "Checkpoint":
        """Take the `sum` or the `mean` along an axis, of which size 1 is left, or with `keep=False` nothing.

        >>> import numpy as np
        >>> colours = Checkpoint.of({"conv1/kernel": np.ones((3, 3, 3, 64), np.float32)})
        >>> colours.reduce("conv1/kernel", "sum", axis=2)["conv1/kernel"].shape
        (3, 3, 1, 64)
        """
        return self.edit("reduce", f"{pattern}={how}(axis={axis}, keep={keep})", slots=slots)

    def split_parts(
        self, pattern: str, parts: Sequence[str], axis: int = 0, heads: int = 1, sizes: Sequence[int] = ()
    ) -> "Checkpoint":
        """Split tensors along an axis, whole or within each head; the last component taken becomes a part's name.

        >>> import numpy as np
        >>> fused = Checkpoint.of({"h.0.c_attn.weight": np.zeros((2, 6))})
        >>> list(fused.split_parts(".*c_attn", ["q", "k", "v"], axis=-1))
        ['h.0.q.weight', 'h.0.k.weight', 'h.0.v.weight']
        """
        own = f", sizes={':'.join(map(str, sizes))}" if sizes else ""
        return self.edit("split-parts", f"{pattern}={','.join(parts)}, axis={axis}, heads={heads}{own}")

    def fuse_parts(self, pattern: str, parts: Sequence[str], new: str, axis: int = 0, heads: int = 1) -> "Checkpoint":
        """Fuse the parts of each scope that a pattern takes along an axis into one, the way back of `split_parts`.

        >>> import numpy as np
        >>> parts = Checkpoint.of({f"h.0.{part}.weight": np.zeros((2, 2)) for part in "qkv"})
        >>> list(parts.fuse_parts(".*", ["q", "k", "v"], "c_attn", axis=-1))
        ['h.0.c_attn.weight']
        """
        return self.edit("fuse-parts", f"{pattern}={','.join(parts)}=>{new}, axis={axis}, heads={heads}")

    def layout(self, pattern: str, layout: str, slots: bool = False) -> "Checkpoint":
        """Arrange kernels of PyTorch as TensorFlow has them, by any layout of imports: `conv`, `flatten(64)`, ...

        >>> import numpy as np
        >>> Checkpoint.of({"conv.weight": np.zeros((8, 3, 5, 5))}).layout("conv.weight", "conv")["conv.weight"].shape
        (5, 5, 3, 8)
        """
        return self.edit("layout", f"{pattern}={layout}", slots=slots)

    def layout_back(self, pattern: str, layout: str, slots: bool = False) -> "Checkpoint":
        """Arrange kernels of TensorFlow as PyTorch has them, the way back of `layout`.

        >>> import numpy as np
        >>> Checkpoint.of({"fc.weight": np.zeros((784, 300))}).layout_back("fc.weight", "dense")["fc.weight"].shape
        (300, 784)
        """
        return self.edit("layout-back", f"{pattern}={layout}", slots=slots)


def _listed(numbers: Sequence[int]) -> str:
    return ",".join(map(str, numbers))
