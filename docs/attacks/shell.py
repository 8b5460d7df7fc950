"""How the attacks call the tool: the command line and all of the tool's output are printed, as in a terminal."""

import shlex
import subprocess
import sys


def ckpttool(line: str) -> None:
    """Run a command line and print its output; a nonzero exit code is printed too."""
    print(f"$ ckpttool {line}", flush=True)
    code, said = invoke(shlex.split(line))
    print(*said.rstrip().splitlines(), *([f"[exit code {code}]"] if code else []), sep="\n", flush=True)


def invoke(arguments: list[str]) -> tuple[int, str]:
    """Return the exit code of a command and its output."""
    command = [sys.executable, "-m", "ckpttool", *arguments]
    ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return ended.returncode, ended.stdout
