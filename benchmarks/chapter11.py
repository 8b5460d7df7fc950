"""The chapter's twelve result tables, made again from the shell on all of MNIST, beside the chapter's figures.

    python benchmarks/chapter11.py mnist.npz

Each table is a handful of commands, as `docs/chapter11.md` explains them. All hold out the first 5,000 training rows
and train for 20 epochs with a rate of 0.01, in batches of 200 unless said. The figure is the validation accuracy of the
last epoch, as in the chapter.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MODEL = Path(__file__).parent.parent / "fixtures" / "my_model_final.ckpt"
FIVE_LAYERS = (
    "hidden1 = dense(300, relu); hidden2 = dense(50, relu); hidden3 = dense(50, relu); "
    "hidden4 = dense(50, relu); hidden5 = dense(50, relu); outputs = dense(10)"
)
FOUR_LAYERS = FIVE_LAYERS.replace("hidden5 = dense(50, relu); ", "")
HEAD = "hidden4 = dense(20, relu); outputs = dense(10)"
REUSING = "hidden1 = dense(300, relu); hidden2 = dense(50, relu); hidden3 = dense(50, relu); " + HEAD
TWO_LAYERS = "hidden1 = dense(300, relu); hidden2 = dense(50, relu); outputs = dense(10)"
DROPOUT = (
    "drop0 = dropout(0.5); hidden1 = dense(300, relu); drop1 = dropout(0.5); "
    "hidden2 = dense(50, relu); drop2 = dropout(0.5); outputs = dense(10)"
)
MOMENTUM = ("--optimizer", "momentum", "--batch-size", 50)
TRAINING = ("--epochs", 20, "--valid", 5000, "--keep", "last")


def ckpttool(*arguments: object) -> None:
    command = [sys.executable, "-m", "ckpttool", *map(str, arguments)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def fresh(layers: str, *options: object) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        ckpttool("new", "--input", 784, "--layers", layers, *options, "-o", folder / "new.ckpt")
        return folder / "new.ckpt"

    return make


def original(folder: Path) -> Path:
    return MODEL


def head(folder: Path) -> Path:
    ckpttool("reuse", MODEL, "--layers", "hidden[123]", "--head", HEAD, "-o", folder / "new.ckpt")
    return folder / "new.ckpt"


def restored(layers: str, chosen: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        ckpttool("new", "--input", 784, "--layers", layers, "-o", folder / "fresh.ckpt")
        target = folder / "fresh.ckpt.meta"
        ckpttool("reuse", MODEL, "--layers", chosen, "--into", target, "-o", folder / "new.ckpt")
        return folder / "new.ckpt"

    return make


def frozen(method: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        model, out = restored(REUSING, "hidden[123]")(folder), folder / "frozen.ckpt"
        ckpttool("freeze", model, "--layers", "hidden[12]", "--method", method, "-o", out)
        return out

    return make


@dataclass(frozen=True)
class Table:
    """One of the chapter's tables: its last accuracy, the model that it starts from, and how that is trained."""

    name: str
    chapter: float
    model: Callable[[Path], Path]
    options: tuple[object, ...] = ()


TABLES = [
    Table("1  300-50-50-50-50, gradients clipped at 1", 0.9612, fresh(FIVE_LAYERS), ("--clip-value", 1)),
    Table("2  on from the .meta, with its own training op", 0.9712, original, ("--train-op", "GradientDescent")),
    Table("3  a rebuilt graph of 4+1 layers, restored", 0.9714, restored(FOUR_LAYERS, "hidden[1234]|outputs")),
    Table("4  head on hidden3, all layers trained", 0.9706, head),
    Table("5  same-named graph, hidden[123] restored", 0.9676, restored(REUSING, "hidden[123]")),
    Table("6  hidden[12] frozen by a variable list", 0.9604, frozen("var-list")),
    Table("7  hidden[12] frozen by stop_gradient", 0.9582, frozen("stop-gradient")),
    Table(
        "8  l1 0.001 on a network of 300",
        0.9052,
        fresh("hidden1 = dense(300, relu, l1=0.001); outputs = dense(10, l1=0.001)"),
    ),
    Table("9  dropout 0.5 on 300-50", 0.9732, fresh(DROPOUT), MOMENTUM),
    Table("10 max-norm 1.0 on 300-50", 0.9846, fresh(TWO_LAYERS), (*MOMENTUM, "--max-norm", "hidden.*=1.0")),
    Table(
        "11 max-norm as a property of the layers",
        0.9824,
        fresh(TWO_LAYERS.replace("relu", "relu, max_norm=1.0")),
        MOMENTUM,
    ),
    Table(
        "12 the same, with another seed",
        0.9844,
        fresh(TWO_LAYERS.replace("relu", "relu, max_norm=1.0")),
        (*MOMENTUM, "--seed", 43),
    ),
]


def main(data: str) -> None:
    print(f"{'table':<48} {'chapter':>8} {'ours':>8} {'points':>7} {'time':>8}")
    for table in TABLES:
        with tempfile.TemporaryDirectory() as folder:
            model, out = table.model(Path(folder)), Path(folder) / "tuned.ckpt"
            ckpttool("finetune", model, "--data", data, *TRAINING, *table.options, "-o", out)
            history = json.loads(Path(f"{out}.run.json").read_text())["history"]
        ours, seconds = history[-1]["valid_accuracy"], sum(epoch["seconds"] for epoch in history)
        points = 100 * (ours - table.chapter)
        print(f"{table.name:<48} {table.chapter:8.4f} {ours:8.4f} {points:+7.2f} {seconds:6.1f} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
