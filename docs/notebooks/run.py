"""Run the notebooks of this folder from top to bottom, each in an empty folder with the files of `fixtures/`.

`python docs/notebooks/run.py` reports failures; with `--write` the outputs are stored in the notebooks.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbclient
import nbformat

HERE = Path(__file__).parent
FIXTURES = HERE.parents[1] / "fixtures"
SECONDS = 300
"""The time limit of a cell in seconds."""


def executed(path: Path) -> Any:
    """Return a notebook with its outputs.

    Raises:
        CellExecutionError: if a cell fails.
    """
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        for file in [*FIXTURES.glob("my_model_final.ckpt*"), FIXTURES / "mnist_small.npz"]:
            shutil.copy(file, folder)
        os.environ["XDG_CACHE_HOME"] = str(Path(folder) / ".cache")
        client = nbclient.NotebookClient(
            notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": folder}}
        )
        client.execute()
    return notebook


def as_kept(notebook: Any) -> Any:
    """Return a notebook without what differs from run to run: times of cells, and overwritten outputs."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = [each for each in cell.outputs if each.output_type != "stream" or each.name == "stdout"]
    return notebook


def main() -> None:
    """Run the named notebooks, or all."""
    names = [name for name in sys.argv[1:] if name != "--write"]
    for path in [HERE / name for name in names] or sorted(HERE.glob("*.ipynb")):
        notebook = executed(path)
        if "--write" in sys.argv:
            nbformat.write(as_kept(notebook), path)
        print(f"{path.name}: {len(notebook.cells)} cells ran")


if __name__ == "__main__":
    main()
