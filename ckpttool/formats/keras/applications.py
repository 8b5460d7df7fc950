"""`keras:NAME`: an architecture of `keras.applications`, as a call in the one notation, and the files of its weights.

    keras:MobileNetV2
    keras:MobileNetV2(alpha=0.5, input_shape=(96, 96, 3), weights='mobile.weights.h5')
    keras:MobileNetV2(classes=5, weights=None)

The parameters are those of Keras's own functions; `weights=None`, or the word none, means random weights. A test
compares the names of files with those that Keras would download.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from ckpttool.core.call_text import nearest
from ckpttool.core.calls import Call, above_zero, require
from ckpttool.core.errors import MissingFile, UnknownName
from ckpttool.formats.keras.scheme import SCHEME

PARAMETER = "`keras:`"
CACHED = "imagenet"
"""Keras's name for the weights in its cache, or that it would download."""
RANDOM = "none"
"""The value of `weights` for random weights."""
SIZE = 224
"""The default image size in pixels of the weights of MobileNets, unless it is another one of `edges`."""


@dataclass(frozen=True)
class Application(Call):
    """An architecture, its weights, and the given arguments; others are inferred from the weights."""

    noun: ClassVar[str] = "architecture"
    example: ClassVar[str] = "MobileNetV2(input_shape=(96, 96, 3))"
    cached: ClassVar[str] = ""
    """The name of the weights' file in Keras's cache; `{top}` is empty if they include the top."""
    without_top: ClassVar[str] = "_notop"
    """The value of `{top}` if they do not."""
    top: ClassVar[str] = "predictions"
    """The layer with an output for each class."""
    input_shape: int | tuple[int, ...] | None = None
    weights: str | None = CACHED
    include_top: bool | None = None
    classes: int | None = None
    pooling: Literal["avg", "max"] | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        shape = self.input_shape
        sizes = shape if isinstance(shape, tuple) else (shape,) * 3
        valid = shape is None or (len(sizes) in (2, 3) and all(size is not None and size > 0 for size in sizes))
        require("input_shape", shape, valid, "the edge of square images, or (height, width, channels)")
        above_zero("classes", self.classes)

    def __str__(self) -> str:
        """Return the call as a string, with a quoted path."""
        given = [each for each in fields(self) if getattr(self, each.name) != each.default]
        written = [f"{each.name}={getattr(self, each.name)!r}" for each in given]
        return f"{self.name}({', '.join(written)})" if written else self.name

    @property
    def shape(self) -> tuple[int, ...] | None:
        """The shape of an image with its channels; None if it is not given."""
        if self.input_shape is None:
            return None
        sizes = self.input_shape if isinstance(self.input_shape, tuple) else (self.input_shape,) * 2
        return (*sizes[:2], *(sizes[2:] or (3,)))

    @property
    def arguments(self) -> dict[str, Any]:
        """The arguments of Keras's function, without the weights and the top."""
        given = {each.name: getattr(self, each.name) for each in fields(self)}
        told = {key: value for key, value in given.items() if key not in ("weights", "include_top", "input_shape")}
        return {key: value for key, value in {**told, "input_shape": self.shape}.items() if value is not None}

    def of(self, weights: Path | str) -> Self:
        """Return the architecture with the weights of a file, or random ones."""
        return replace(self, weights=str(weights))

    def weights_path(self) -> Path | None:
        """Return the file of the weights: the given one, else the one in Keras's cache; None for random weights.

        Raises:
            MissingFile: the file does not exist; the message contains the searched folder.
        """
        if self.weights in (None, RANDOM):
            return None
        way_out = f"`weights` {RANDOM} initialises them randomly"
        if self.weights != CACHED:
            path = Path(str(self.weights))
            if not path.is_file():
                raise MissingFile(f"{path} is missing: expected the `weights` of {SCHEME}{self.name}; {way_out}")
            return path
        folder, names = cache_folder(), list(self.cached_names())
        found = next((folder / name for name in names if (folder / name).is_file()), None)
        if found is None:
            raise MissingFile(
                f"{SCHEME}{self.name}: no weights: Keras's cache {folder} has neither {' nor '.join(names)}; "
                "`weights` specifies "
                f"a file of them, `zoo pull {SCHEME}{self.name}` downloads them into the cache, and {way_out}"
            )
        return found

    def cached_names(self) -> Iterator[str]:
        """Yield the possible names of the weights' file in Keras's cache, in order of preference."""
        for top in (True, False) if self.include_top is None else (self.include_top,):
            yield self.cached.format(top="" if top else self.without_top, **self._sizes())

    def _sizes(self) -> dict[str, str]:
        return {}


@dataclass(frozen=True)
class MobileNetApplication(Application):
    """A MobileNet, whose layers may be narrower by a factor `alpha`, which is inferred from the weights."""

    widest: ClassVar[tuple[str, int]]
    """A layer, and its number of channels for `alpha` 1."""
    edges: ClassVar[tuple[int, ...]] = (SIZE,)
    """The sizes in pixels of square images for which Keras provides weights."""
    alpha: float | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        super().__post_init__()
        above_zero("alpha", self.alpha)

    def _sizes(self) -> dict[str, str]:
        alpha, shape = self.alpha or 1.0, self.shape or (SIZE, SIZE)
        edge = shape[0] if shape[0] == shape[1] and shape[0] in self.edges else SIZE
        parted = {1.0: "1_0", 0.75: "7_5", 0.5: "5_0"}.get(alpha, "2_5")
        return {"alpha": str(float(alpha)), "parted": parted, "edge": str(edge)}


@dataclass(frozen=True)
class MobileNetV3Application(MobileNetApplication):
    """A MobileNetV3, which may also be minimalistic: without squeezing, and with small kernels only."""

    minimalistic: bool | None = None

    def _sizes(self) -> dict[str, str]:
        return {**super()._sizes(), "minimalistic": "_minimalistic" if self.minimalistic else ""}


_TF = "{stem}_weights_tf_dim_ordering_tf_kernels{{top}}.h5"
_V1 = "mobilenet_{parted}_{edge}_tf{top}.h5"
_V2 = "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_{alpha}_{edge}{top}.h5"
_V3 = "weights_mobilenet_v3_{size}{{minimalistic}}_224_{{alpha}}_float{{top}}.h5"


def _tables() -> Iterator[tuple[str, type[Application], dict[str, Any]]]:
    """Yield the name, the class, and the known properties of each architecture."""
    named = {"InceptionV3": "inception_v3", "InceptionResNetV2": "inception_resnet_v2", "Xception": "xception"}
    residual = [f"ResNet{depth}{version}" for version in ("", "V2") for depth in (50, 101, 152)]
    for name in ("VGG16", "VGG19", *residual, *named, "DenseNet121", "DenseNet169", "DenseNet201"):
        yield name, Application, {"cached": _TF.format(stem=named.get(name, name.lower()))}
    own = {"cached": _V1, "top": "conv_preds", "widest": ("conv_pw_13", 1024), "edges": (128, 160, 192, SIZE)}
    yield "MobileNet", MobileNetApplication, {**own, "without_top": "_no_top"}
    own = {"cached": _V2, "widest": ("block_16_project", 320), "edges": (96, 128, 160, 192, SIZE)}
    yield "MobileNetV2", MobileNetApplication, {**own, "without_top": "_no_top"}
    for size, widest in (("Small", ("expanded_conv_10_project", 96)), ("Large", ("expanded_conv_14_project", 160))):
        known = {"cached": _V3.format(size=size.lower()), "without_top": "_no_top_v2", "top": "logits"}
        yield f"MobileNetV3{size}", MobileNetV3Application, {**known, "widest": widest}
    for size in ("Mobile", "Large"):
        yield f"NASNet{size}", Application, {"cached": f"nasnet_{size.lower()}{{top}}.h5", "without_top": "_no_top"}
    for size in [f"B{number}" for number in range(8)]:
        yield f"EfficientNet{size}", Application, {"cached": f"efficientnet{size.lower()}{{top}}.h5"}
    for size in ("B0", "B1", "B2", "B3", "S", "M", "L"):
        yield f"EfficientNetV2{size}", Application, {"cached": f"efficientnetv2-{size.lower()}{{top}}.h5"}
    for size in ("Tiny", "Small", "Base", "Large", "XLarge"):
        stem = f"convnext_{size.lower()}"
        yield f"ConvNeXt{size}", Application, {"cached": f"{stem}{{top}}.h5", "top": f"{stem}_head_dense"}


APPLICATIONS: dict[str, type[Application]] = {
    name: type(name, (kind,), {"name": name, **known, "__module__": __name__}) for name, kind, known in _tables()
}
"""The architectures, by their names in `keras.applications`."""


def application(path: Path | str) -> Application:
    """Parse the name of an architecture, with its arguments.

    >>> str(application("keras:MobileNetV2(input_shape=96, alpha=0.5)"))
    'MobileNetV2(input_shape=96, alpha=0.5)'

    Raises:
        UnknownName: if there is no such architecture, or it has no such parameter; the message has the nearest.
        PlanError: if an argument is invalid.
    """
    text = str(path).removeprefix(SCHEME)
    name = text.partition("(")[0].strip()
    if name not in APPLICATIONS:
        raise UnknownName(f"{SCHEME}{name}: keras.applications has no such architecture{nearest(name, APPLICATIONS)}")
    return Application.read(text, PARAMETER)


def named_path(application: Application) -> Path:
    """Return the text that replaces a path, for an architecture.

    >>> str(named_path(application("keras:VGG16").of("a/w.h5")))
    "keras:VGG16(weights='a/w.h5')"
    """
    return Path(f"{SCHEME}{application}")


def cache_folder() -> Path:
    """Return the folder in which Keras keeps the weights that it downloads."""
    home = os.environ.get("KERAS_HOME")
    user = Path.home()
    base = Path(home) if home is not None else (user if os.access(user, os.W_OK) else Path("/tmp")) / ".keras"
    return base / "models"
