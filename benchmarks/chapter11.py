"""The chapter's twelve result tables, reproduced from the shell on all of MNIST, next to the chapter's figures.

    python benchmarks/chapter11.py mnist.npz [chapter11.txt]

The commands are those of `docs/chapter11.md`, with more rows and epochs: the first 5,000 training rows are held out,
and there are 20 epochs. The figure is the validation accuracy of the last one, as in the chapter; the time is that of
the training. With a second argument the output is stored in that file, from which `make docs` reads it.
"""

import json
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "chapter11.md"
TRAINING = ("--epochs", "20", "--valid", "first:5000", "--keep", "last")
"""Options of each training in addition to the page's; the last occurrence of an option counts."""
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Table:
    """One of the chapter's tables: its title, its last accuracy, and its model on the page."""

    name: str
    chapter: float
    model: str
    options: tuple[str, ...] = ()


TABLES = [
    Table("1  five hidden layers, gradients clipped at 1", 0.9612, "clipped.ckpt"),
    Table("2  on from the .meta, with its own training op", 0.9712, "continued.ckpt"),
    Table("3  the same graph built again, restored", 0.9714, "rebuilt_tuned.ckpt"),
    Table("4  new layers on hidden3, all trained", 0.9706, "cut_tuned.ckpt"),
    Table("5  another graph, hidden[123] restored", 0.9676, "restored_tuned.ckpt"),
    Table("6  hidden[12] frozen by a variable list", 0.9604, "listed_tuned.ckpt"),
    Table("7  hidden[12] frozen by stop_gradient", 0.9582, "stopped_tuned.ckpt"),
    Table("8  l1 0.001 on a network of 300", 0.9052, "l1_tuned.ckpt"),
    Table("9  dropout 0.5 on 300-50", 0.9732, "dropout_tuned.ckpt"),
    Table("10 max-norm 1.0 on 300-50", 0.9846, "bounded.ckpt"),
    Table("11 max-norm as a property of the layers", 0.9824, "max_norm_tuned.ckpt"),
    Table("12 the same again, with --seed 43", 0.9844, "max_norm_tuned.ckpt", ("--seed", "43")),
]


def commands_of(page: Path) -> list[list[str]]:
    """Return the commands in a page's shell blocks, each as a list of words."""
    return [words for block in BLOCK.findall(page.read_text(encoding="utf-8")) for words in commands_in(block)]


def commands_in(block: str) -> Iterator[list[str]]:
    """Yield the commands of a shell block; one continues after a backslash at a line's end, or within a quotation."""
    pending = ""
    for line in block.replace("\\\n", " ").splitlines():
        pending += f"{line}\n"
        try:
            words = shlex.split(pending, comments=True)
        except ValueError:  # the quotation is still open
            continue
        pending = ""
        if words:
            yield words


def leading_to(model: str, commands: list[list[str]]) -> list[list[str]]:
    """Return the commands that lead to a model, in order."""
    needed = {model}
    chain: list[list[str]] = []
    for command in reversed(commands):
        if "-o" in command and command[command.index("-o") + 1] in needed:
            needed |= {word.removesuffix(".meta") for word in command}
            chain.insert(0, command)
    return chain


def train(table: Table, data: Path) -> tuple[float, float]:
    """Make a table's model in its own folder; return its last validation accuracy and the training time."""
    more = ("--data", str(data), *TRAINING, *table.options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in (ROOT / "fixtures").glob("my_model_final.ckpt*"):
            (folder / path.name).symlink_to(path)
        for _, verb, *words in leading_to(table.model, commands_of(PAGE)):
            command = [sys.executable, "-m", "ckpttool", verb, *words, *(more if verb == "finetune" else ())]
            subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        history = json.loads((folder / f"{table.model}.run.json").read_text())["history"]
    return history[-1]["valid_accuracy"], sum(epoch["seconds"] for epoch in history)


def main(data: str, transcript: str | None = None) -> None:
    lines = [f"{'table':<46}  {'model':<19}  chapter    ours  points     time"]
    print(lines[0])
    for table in TABLES:
        ours, seconds = train(table, Path(data).resolve())
        figures = f"{table.chapter:7.4f}  {ours:6.4f}  {100 * (ours - table.chapter):+6.2f}  {seconds:5.1f} s"
        lines.append(f"{table.name:<46}  {table.model:<19}  {figures}")
        print(lines[-1], flush=True)
    if transcript is not None:
        Path(transcript).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
