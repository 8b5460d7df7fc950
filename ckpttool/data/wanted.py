"""What a graph wants of a data set: its placeholders."""

from dataclasses import dataclass

from ckpttool.core.shapes import PartialShape
from ckpttool.core.tensors import DType


@dataclass(frozen=True)
class InputSpec:
    """What a graph's placeholder says of itself: op name, shape (None: unknown) and dtype."""

    name: str
    shape: PartialShape | None
    dtype: DType


@dataclass(frozen=True)
class Wanted:
    """The placeholders of the inputs and of the labels; `features` says what records hold, where they do not say it.

    Where no labels are wanted, `beside` names those that may be there all the same, which are no inputs.
    """

    inputs: tuple[InputSpec, ...] = ()
    labels: InputSpec | None = None
    features: str | None = None
    beside: tuple[str, ...] = ()

    def label_names(self) -> list[str]:
        """Return the names that a column of labels may have, the likeliest first."""
        names = [self.labels.name] if self.labels else [name.removesuffix(":0") for name in self.beside]
        own = [each for name in names for each in (name, name.rpartition("/")[2])]
        return list(dict.fromkeys([*own, "y", "Y", "label", "labels", "class", "target"]))
