"""The notebooks of the docs: they run from top to bottom, and are stored small, with their outputs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_is_kept_with_its_outputs(name: str) -> None:
    content = (FOLDER / name).read_text()
    cells = [cell for cell in json.loads(content)["cells"] if cell["cell_type"] == "code"]
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert len(outputs) >= len(cells) / 2
    assert [output for output in outputs if output["output_type"] == "error"] == []
    assert "/tmp/" not in content
    assert len(content) < 200_000


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_a_notebook_runs(name: str) -> None:
    pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    done = subprocess.run([sys.executable, str(FOLDER / "run.py"), name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
