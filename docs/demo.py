"""The main job on the fixtures, as a user types it, ending in a table: `make demo`."""

import json
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

FIXTURES = Path(__file__).parent.parent / "fixtures"
COMMANDS = """
ckpttool layers my_model_final.ckpt
ckpttool reuse my_model_final.ckpt --layers 'hidden[123]' --head 'hidden4 = dense(20, relu); outputs = dense(10)' -o new.ckpt
ckpttool finetune new.ckpt --data mnist_small.npz --freeze 'hidden[12]' --cache --epochs 10 --lr 0.05 -o tuned.ckpt
ckpttool verify tuned.ckpt --unchanged 'hidden[12]' my_model_final.ckpt
ckpttool diff new.ckpt tuned.ckpt
"""


def run(command: str, folder: Path) -> None:
    """Show a command and what it prints; a difference that `diff` finds (exit code 1) is no failure."""
    print(f"\n$ {command}", flush=True)
    done = subprocess.run(shlex.split(command), cwd=folder, check=False)
    if done.returncode > 1:
        sys.exit(done.returncode)


def score(model: str, folder: Path) -> float:
    """Return a model's accuracy on the test rows."""
    command = ["ckpttool", "evaluate", model, "--data", "mnist_small.npz", "--json"]
    answer: dict[str, Any] = json.loads(subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE).stdout)
    return float(answer["accuracy"])


def summary(folder: Path) -> Table:
    """Compare the old model with the reused and the fine-tuned one."""
    report = json.loads((folder / "tuned.ckpt.run.json").read_text())
    layers = {row["layer"]: row for row in report["plan"]}
    frozen = [name for name, row in layers.items() if not row["train"]]
    table = Table("model", "restored", "fresh", "frozen", "cached", "test accuracy", title="What was done")
    old, new, tuned = (f"{score(name, folder):.4f}" for name in ("my_model_final.ckpt", "new.ckpt", "tuned.ckpt"))
    fresh = "hidden4 outputs"
    table.add_row("my_model_final.ckpt", "", "", "", "", old)
    table.add_row("new.ckpt", "hidden1 hidden2 hidden3", fresh, "", "", new)
    cached = f"{sum(report['data']['rows'].values())} rows of {' '.join(report['cached'])}"
    table.add_row(f"tuned.ckpt (epoch {report['kept_epoch']})", "", "", " ".join(frozen), cached, tuned)
    return table


def main() -> None:
    """Run the commands in an empty folder that has the fixtures."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for path in [*FIXTURES.glob("my_model_final.ckpt*"), FIXTURES / "mnist_small.npz"]:
            (folder / path.name).symlink_to(path)
        for command in COMMANDS.strip().splitlines():
            run(command, folder)
        print()
        Console(width=110).print(summary(folder))


if __name__ == "__main__":
    main()
