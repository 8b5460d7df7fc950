"""What a graph wants of a data set: its placeholders."""

from dataclasses import dataclass

from ckpttool.tensors import DType


@dataclass(frozen=True)
class InputSpec:
    """What a graph's placeholder says of itself: op name, shape (None: unknown) and dtype."""

    name: str
    shape: tuple[int | None, ...] | None
    dtype: DType


@dataclass(frozen=True)
class Wanted:
    """The placeholders of the inputs and of the labels; `features` says what records hold, where they do not say it."""

    inputs: tuple[InputSpec, ...] = ()
    labels: InputSpec | None = None
    features: str | None = None

    def label_names(self) -> list[str]:
        """Return the names that a column of labels may have, the likeliest first."""
        own = [self.labels.name, self.labels.name.rpartition("/")[2]] if self.labels else []
        return list(dict.fromkeys([*own, "y", "Y", "label", "labels", "class", "target"]))
