"""The chapter's transfer learning tables, made again from the shell on all of MNIST, beside the chapter's figures.

    python benchmarks/chapter11.py mnist.npz

Every row starts from `fixtures/my_model_final.ckpt` and trains for 20 epochs with SGD 0.01 in batches of 200, the first
5,000 training rows held out. The figure is the validation accuracy of the last epoch, as in the chapter.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

MODEL = Path(__file__).parent.parent / "fixtures" / "my_model_final.ckpt"
HEAD = "hidden4 = dense(20, relu); outputs = dense(10)"
NETWORK = "hidden1 = dense(300, relu); hidden2 = dense(50, relu); hidden3 = dense(50, relu); " + HEAD


def ckpttool(*arguments: object) -> str:
    command = [sys.executable, "-m", "ckpttool", *map(str, arguments)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL).stdout


def head(folder: Path) -> Path:
    ckpttool("reuse", MODEL, "--layers", "hidden[123]", "--head", HEAD, "-o", folder / "new.ckpt")
    return folder / "new.ckpt"


def same_named(folder: Path) -> Path:
    ckpttool("new", "--input", "784", "--layers", NETWORK, "-o", folder / "fresh.ckpt")
    target = folder / "fresh.ckpt.meta"
    ckpttool("reuse", MODEL, "--layers", "hidden[123]", "--into", target, "-o", folder / "new.ckpt")
    return folder / "new.ckpt"


def frozen(method: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        same_named(folder)
        ckpttool(
            "freeze", folder / "new.ckpt", "--layers", "hidden[12]", "--method", method, "-o", folder / "frozen.ckpt"
        )
        return folder / "frozen.ckpt"

    return make


TABLES: list[tuple[str, float, Callable[[Path], Path]]] = [
    ("4  head on hidden3, all layers trained", 0.9706, head),
    ("5  same-named graph, hidden[123] restored", 0.9676, same_named),
    ("6  hidden[12] frozen by a variable list", 0.9604, frozen("var-list")),
    ("7  hidden[12] frozen by stop_gradient", 0.9582, frozen("stop-gradient")),
]


def main(data: str) -> None:
    print(f"{'table':<46} {'chapter':>8} {'ours':>8} {'points':>7} {'time':>8}")
    for name, chapter, make in TABLES:
        with tempfile.TemporaryDirectory() as folder:
            model = make(Path(folder))
            out = Path(folder) / "tuned.ckpt"
            options = ("--epochs", 20, "--batch-size", 200, "--lr", 0.01, "--valid", 5000, "--keep", "last")
            ckpttool("finetune", model, "--data", data, *options, "-o", out, "--json")
            history = json.loads(Path(f"{out}.run.json").read_text())["history"]
        ours, seconds = history[-1]["valid_accuracy"], sum(epoch["seconds"] for epoch in history)
        print(f"{name:<46} {chapter:8.4f} {ours:8.4f} {100 * (ours - chapter):+7.2f} {seconds:6.1f} s", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
