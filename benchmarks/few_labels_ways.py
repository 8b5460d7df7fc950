"""The ways to train a network on few labelled rows that docs/few-labels.md compares."""

from dataclasses import dataclass

PAIRED = "pairs"
"""The method that requires labels, and gets those of the labelled rows."""
DENSE = "hidden1 = dense(500, sigmoid); hidden2 = dense(250, sigmoid)"
CONVOLUTIONAL = (
    "conv1 = conv2d(16, 3, relu, strides=2); conv2 = conv2d(32, 3, relu, strides=2); "
    "flat = flatten(); hidden = dense(128, relu)"
)
LAYERS = "conv[12]|hidden"
DENOISING = "autoencoder(noise=mask(0.5), compare=cross_entropy)"
SHIFTED = "shift(0.1); rotate(15); scale(0.8, 1.2); brightness(0.3); contrast(0.7, 1.3)"


@dataclass(frozen=True)
class Way:
    """A network's initial layers: new, pretrained by a method, or trained on other classes."""

    slug: str
    name: str
    layers: str
    method: str | None = None
    optimizer: str = "adam(0.001)"
    epochs: int = 10
    batch: int = 100
    augment: str | None = None
    kept: str = ".*"
    reuses: bool = False
    searches: bool = False
    pseudo: tuple[float, ...] = ()


@dataclass(frozen=True)
class Task:
    """Classes to distinguish, and the ways to learn it, the one from scratch first."""

    slug: str
    name: str
    classes: tuple[int, int]
    shape: tuple[int, ...]
    ways: tuple[Way, ...]

    @property
    def head(self) -> str:
        """The layers that distinguish the classes, on top of a layer of any shape."""
        return f"flattened = flatten(); outputs = dense({len(range(*self.classes))})"


TASKS = (
    Task(
        "dense",
        "Ten classes, a dense network",
        (0, 10),
        (784,),
        (
            Way("scratch", "from scratch", DENSE),
            Way("autoencoder", "autoencoder", DENSE, DENOISING, optimizer="adam(0.01)", epochs=20),
            Way("rbm", "rbm", DENSE, "rbm"),
            Way("corrupt", "corrupt", DENSE, "corrupt"),
            Way("pairs", "pairs of labelled rows", DENSE, "pairs(mining=semi_hard)"),
            Way("pseudo", "pseudo-labels", DENSE, pseudo=(0.02, 2)),
        ),
    ),
    Task(
        "convolutional",
        "Ten classes, a convolutional network",
        (0, 10),
        (28, 28, 1),
        (
            Way("scratch", "from scratch", CONVOLUTIONAL),
            Way("rotate", "rotate", CONVOLUTIONAL, "rotate", epochs=4),
            Way("rotate-shifted", "rotate, of shifted rows", CONVOLUTIONAL, "rotate", epochs=4, augment="shift(0.1)"),
            Way("views", "views", CONVOLUTIONAL, "views", epochs=4, augment=SHIFTED),
        ),
    ),
    Task(
        "halves",
        "The upper five classes, a convolutional network",
        (5, 10),
        (28, 28, 1),
        (
            Way("scratch", "from scratch", CONVOLUTIONAL),
            Way("views", "views", CONVOLUTIONAL, "views", epochs=4, augment=SHIFTED),
            Way("reused", "reuse of the lower five", CONVOLUTIONAL, kept=LAYERS, reuses=True),
            Way("searched", "what search chooses of these", CONVOLUTIONAL, kept=LAYERS, reuses=True, searches=True),
        ),
    ),
)
