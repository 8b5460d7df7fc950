"""The page of attacks: each script of docs/attacks with the output of its last run.

    python docs/attack_pages.py

runs the scripts, each in an empty folder, and stores their output; tests/test_attacks.py compares it with a new run.
"""

import ast
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parent / "attacks"
PAGE = FOLDER / "README.md"
HEADER = """# Attacks

Ten attacks by files, servers, and kills at bad moments: for each a short script and what it prints. `make docs` writes
this page, `make attacks` runs the scripts again, and a test compares their output. To run one by hand:

```sh
cd $(mktemp -d) && PYTHONPATH=path/to/checkout python path/to/checkout/docs/attacks/d_flipped_bits.py
```

[trust/](../../trust/README.md) does the same on a larger scale, for every bit, system call and op; the
[README](../../README.md#attacked) has its results. [Security](../../SECURITY.md) lists what is safe, and the limits.
"""


def scripts() -> list[Path]:
    """Return the attacks, in their order."""
    return sorted(FOLDER.glob("[a-z]_*.py"))


def page() -> str:
    """Return the page: for each script a heading, its text and its output."""
    return "\n".join([HEADER, _contents(), *map(_section, scripts())])


def _contents() -> str:
    return "".join(f"- [{_title(path)}](#{_anchor(_title(path))})\n" for path in scripts())


def _title(path: Path) -> str:
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].replace("`", "").rstrip(".")


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


def _section(path: Path) -> str:
    source = path.read_text(encoding="utf-8")
    why = (ast.get_docstring(ast.parse(source)) or "").partition("\n\n")[2]
    code = source.partition('"""')[2].partition('"""')[2].strip()
    printed = path.with_suffix(".txt").read_text(encoding="utf-8").rstrip()
    link = f"[`{path.name}`]({path.name})"
    return f"## {_title(path)}\n\n{why}\n\n{link}:\n\n```python\n{code}\n```\n\nprints:\n\n```text\n{printed}\n```\n"


def comparable(printed: str, folder: Path) -> str:
    """Return a script's output without the port and the folder, which differ between runs."""
    return re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8000", printed.replace(str(folder.resolve()), "/tmp/here"))


def run(path: Path) -> str:
    """Run a script in an empty folder, and return its output."""
    root = str(FOLDER.parents[1])
    with tempfile.TemporaryDirectory() as folder:
        printed = subprocess.run(
            [sys.executable, str(path)],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": root, "TF_CPP_MIN_LOG_LEVEL": "3"},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            check=True,
        ).stdout
        return comparable(printed, Path(folder))


if __name__ == "__main__":
    for script in scripts():
        script.with_suffix(".txt").write_text(run(script), encoding="utf-8")
        print(script.name, flush=True)
