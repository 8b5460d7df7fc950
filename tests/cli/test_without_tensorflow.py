"""The inspection commands without TensorFlow: in a venv with links to the packages that they need."""

import importlib.metadata
import subprocess
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
REFUSED = {"tensorflow", "tensorflow-cpu", "tensorflow_cpu", "keras", "tensorboard"}


def dependencies() -> list[str]:
    """The distributions that the project always needs, and their dependencies."""
    found: list[str] = []
    todo = list(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"])
    while todo:
        wanted = Requirement(todo.pop())
        needed = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if needed and wanted.name not in found and _installed(wanted.name):
            assert wanted.name not in REFUSED
            found.append(wanted.name)
            todo += importlib.metadata.requires(wanted.name) or []
    return found


def _installed(name: str) -> bool:
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python whose site-packages are links to the needed packages, and the project itself."""
    home = tmp_path_factory.mktemp("bare")
    venv.create(home, with_pip=False, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    for name in dependencies():
        for file in importlib.metadata.distribution(name).files or []:
            top = file.parts[0]
            source = Path(str(importlib.metadata.distribution(name).locate_file(top)))
            if top not in {"..", "__pycache__"} and source.exists() and not (site / top).exists():
                (site / top).symlink_to(source)
    (site / "ckpttool").symlink_to(ROOT / "ckpttool")
    return home / "bin" / "python"


def run(python: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [str(python), "-m", "ckpttool", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_there_is_no_tensorflow(python: Path) -> None:
    done = subprocess.run([str(python), "-c", "import tensorflow"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        ("ops", "MODEL"),
        ("vars", "MODEL", "--stats"),
        ("layers", "MODEL"),
        ("show", "MODEL", "outputs/bias"),
        ("collections", "MODEL"),
        ("diff", "MODEL", "MODEL"),
        ("verify", "MODEL"),
        ("stats", "MODEL"),
        ("average", "MODEL", "MODEL", "--plan"),
    ],
    ids=" ".join,
)
def test_looking_works(python: Path, model: Path, arguments: tuple[str, ...]) -> None:
    done = run(python, *(str(model) if word == "MODEL" else word for word in arguments))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


def test_running_a_graph_says_what_to_install(python: Path, model: Path) -> None:
    done = run(python, "evaluate", model, "--data", ROOT / "fixtures" / "mnist_small.npz")
    assert done.returncode == 2
    assert "pip install 'ckpttool[tensorflow]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
