"""The main job on the fixtures, as a user types it, ending in a table: `make demo`.

With the name of a file it also writes there what it printed, from which `make docs` takes the README's picture.
"""

import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

import ckpttool

FIXTURES = Path(__file__).parent.parent / "fixtures"
WIDTH = 116
COMMANDS = """
ckpttool layers my_model_final.ckpt
ckpttool reuse my_model_final.ckpt --layers 'hidden[123]' --head 'hidden4 = dense(20, relu); outputs = dense(10)' -o new.ckpt
ckpttool finetune new.ckpt --data mnist_small.npz --freeze 'hidden[12]' --cache --cache-dir cache --optimizer momentum --lr 0.05 --epochs 10 -o tuned.ckpt
ckpttool verify tuned.ckpt --unchanged 'hidden[12]' my_model_final.ckpt
ckpttool diff new.ckpt tuned.ckpt
"""  # noqa: E501 - a command is one line, to be pasted
DIFFERENCE = 1
"""The exit code of a command whose answer is "no", which is no failure here."""


def main() -> list[str]:
    """Run the commands in an empty folder that has the fixtures, compare the three models; return what was printed."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in [*FIXTURES.glob("my_model_final.ckpt*"), FIXTURES / "mnist_small.npz"]:
            (folder / path.name).symlink_to(path)
        shown = [line for command in COMMANDS.strip().splitlines() for line in show(run(command, folder))]
        return [*shown, *show(table(folder))]


def show(lines: Iterable[str]) -> list[str]:
    """Print lines as they come, and return them."""
    kept = []
    for line in lines:
        print(line, flush=True)
        kept.append(line)
    return kept


def run(command: str, folder: Path) -> Iterator[str]:
    """Yield a command, the lines that it prints (tables, as on a terminal), and an empty line."""
    yield f"$ {command}"
    environment = {**os.environ, "CKPTTOOL_TABLE": "1", "COLUMNS": str(WIDTH)}
    with subprocess.Popen(
        shlex.split(command), cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        yield from (line.rstrip() for line in process.stdout or ())
    if process.returncode > DIFFERENCE:
        sys.exit(process.returncode)
    yield ""


def table(folder: Path) -> list[str]:
    """Compare the old model with the reused and the fine-tuned one."""
    ckpttool.configure_tensorflow()  # this process is ours: no log messages
    old, new, tuned = (ckpttool.Model.open(folder / f"{name}.ckpt") for name in ("my_model_final", "new", "tuned"))
    taken = ckpttool.diff(old.checkpoint, new.checkpoint).same
    report = json.loads((folder / "tuned.ckpt.run.json").read_text(encoding="utf-8"))
    rows = Table("model", "restored", "fresh", "frozen", "cached", "test accuracy", box=SIMPLE_HEAD)
    rows.add_row("my_model_final.ckpt", "", "", "", "", accuracy(old, folder))
    kinds = new.checkpoint.kinds()
    fresh = layers(name for name in new.checkpoint if name not in taken and kinds[name] == "weight")
    rows.add_row("new.ckpt", layers(taken), fresh, "", "", accuracy(new, folder))
    rows.add_row("tuned.ckpt", "", "", layers(report["unchanged"]), cached(report), accuracy(tuned, folder))
    console = Console(width=WIDTH, no_color=True)
    with console.capture() as capture:
        console.print(rows)
    return [line.rstrip() for line in capture.get().strip("\n").splitlines() if line.strip()]


def layers(variables: Iterable[str]) -> str:
    """Return the layers of some variables."""
    return " ".join(dict.fromkeys(name.partition("/")[0] for name in variables))


def cached(report: dict[str, Any]) -> str:
    """Say for how many rows the frozen layers' outputs were computed once, instead of once per epoch."""
    rows = sum(report["data"]["rows"].values())
    return f"{rows} rows" if report["cache"] else ""


def accuracy(model: ckpttool.Model, folder: Path) -> str:
    """Return a model's share of right answers on the test rows."""
    return f"{ckpttool.evaluate(model, folder / 'mnist_small.npz').accuracy:.4f}"


if __name__ == "__main__":
    printed = main()
    for transcript in sys.argv[1:]:
        Path(transcript).write_text("\n".join(printed) + "\n", encoding="utf-8")
