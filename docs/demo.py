"""The benefit of reuse, on the fixtures, with the commands that a user types, ending in a table: `make demo`.

A network trained on the digits 0 to 4 by plain TensorFlow must distinguish 5 to 9, of which 200 examples have labels:
from scratch, with its layers reused, and with the depth that `search` finds. With the name of a file the output is
written to it, and the README's picture next to it (`make transcript`). All commands run in this process, so that
TensorFlow is imported once.
"""

import contextlib
import io
import os
import re
import shlex
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

import ckpttool
from ckpttool.cli import main as tool

FIXTURES = Path(__file__).parent.parent / "fixtures"
MODEL, DATA = "zero_to_four.ckpt", "five_to_nine.npz"
WIDTH = 116
COMMANDS = """
ckpttool layers zero_to_four.ckpt
ckpttool new --input 28,28,1 --layers 'conv1 = conv2d(8, 3, relu, padding=valid); pool1 = max_pool(2); conv2 = conv2d(16, 3, relu, padding=valid); pool2 = max_pool(2); conv3 = conv2d(32, 3, relu, padding=valid); flattened = flatten(); outputs = dense(5)' -o untrained.ckpt
ckpttool finetune untrained.ckpt --data five_to_nine.npz --optimizer 'adam(0.003)' --epochs 40 --keep last -o scratch.ckpt
ckpttool reuse zero_to_four.ckpt --layers 'conv[123]|hidden' --head 'outputs = dense(5)' -o new.ckpt
ckpttool finetune new.ckpt --data five_to_nine.npz --freeze 'conv[123]|hidden' --cache --cache-dir cache --optimizer 'adam(0.003)' --epochs 40 --keep last -o reused.ckpt
ckpttool verify reused.ckpt --unchanged 'conv[123]|hidden' zero_to_four.ckpt
ckpttool search zero_to_four.ckpt --data five_to_nine.npz --head 'flattened = flatten(); outputs = dense(5)' --keep 3,4 --freeze 0,3,4 --rope 2 --seeds 1 --optimizer 'adam(0.003)' --epochs 40 --on here -o searched.ckpt
"""  # noqa: E501 - a command is one line, to be pasted
MADE = {
    "scratch.ckpt": "trained from scratch",
    "reused.ckpt": "all layers but the last reused and frozen",
    "searched.ckpt": "reused and frozen as deep as search recommends",
}
"""The outputs of the commands, as described in the table."""
SHOWN = ("reuse", "search")
"""The commands in the picture, which also has the closing table."""
FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)


class Both(io.TextIOBase):
    """A stream that shows the output immediately, and stores it."""

    def __init__(self, shown: io.TextIOBase) -> None:
        """Set the stream that shows it."""
        self.shown, self.kept = shown, ""

    def write(self, text: str) -> int:
        """Show and store a text."""
        self.kept += text
        self.shown.write(text)
        self.shown.flush()
        return len(text)


def main() -> list[str]:
    """Run the commands in an empty folder with the fixtures, compare the models; return the output."""
    os.environ |= {"CKPTTOOL_TABLE": "1", "COLUMNS": str(WIDTH)}
    out = Both(sys.stdout)
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        for path in [*FIXTURES.glob(f"{MODEL}*"), FIXTURES / DATA]:
            Path(path.name).symlink_to(path)
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            for command in COMMANDS.strip().splitlines():
                run(command)
            print("\n".join(table()))
    return [line.rstrip() for line in out.kept.splitlines()]


def run(command: str) -> None:
    """Print a command, its output (tables, as on a terminal), and an empty line.

    Raises:
        SystemExit: if it failed.
    """
    print(f"$ {command}")
    try:
        tool(shlex.split(command)[1:], prog_name="ckpttool")
    except SystemExit as end:
        if end.code:
            raise
    print()


def table() -> list[str]:
    """Compare the models on the test rows, which were not used in their training."""
    rows = Table("model", "200 labelled examples of 5 to 9", "test accuracy", box=SIMPLE_HEAD)
    for name, how in MADE.items():
        rows.add_row(name, how, f"{ckpttool.evaluate(ckpttool.Model.open(name), DATA).accuracy:.3f}")
    return printed(lambda console: console.print(rows))


def printed(show: Callable[[Console], None]) -> list[str]:
    """Return the lines that a console prints."""
    console = Console(width=WIDTH, no_color=True)
    with console.capture() as capture:
        show(console)
    return [line.rstrip() for line in capture.get().strip("\n").splitlines() if line.strip()]


def picture(lines: Iterable[str]) -> str:
    """Return a terminal with parts of the transcript, as an SVG without external fonts."""
    runs = "\n".join(lines).rstrip().split("\n\n$ ")
    shown = [f"$ {each}" for each in runs[1:] if each.split()[1] in SHOWN]
    console = Console(width=WIDTH, record=True, file=io.StringIO(), legacy_windows=False)
    for line in "\n\n".join(shown).splitlines():
        for each in folded(line):
            console.print(Text(each, style="bold green" if line.startswith("$ ") else ""), soft_wrap=True)
    return FONT.sub("", console.export_svg(title="make demo"))


def folded(line: str) -> list[str]:
    """Return a line wrapped to the width: a command as a user would type it, others between words."""
    if not line.startswith("$ "):
        return [line] if len(line) <= WIDTH else textwrap.wrap(line, WIDTH, break_on_hyphens=False)
    *begun, rest = re.split(r" (?=--(?:head|keep)\b)", line)
    return [*(f"{part} \\" if number == 0 else f"    {part} \\" for number, part in enumerate(begun)), f"    {rest}"]


if __name__ == "__main__":
    transcript = main()
    for name in sys.argv[1:]:
        Path(name).write_text("\n".join(transcript) + "\n", encoding="utf-8")
        Path(name).with_suffix(".svg").write_text(picture(transcript), encoding="utf-8")
