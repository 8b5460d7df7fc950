"""The distributions for the index: small, whole, with a README that renders there, and tests that run in the sdist."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
import readme_renderer.markdown

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
ADDRESS = "https://example.org/team/ckpttool"
MEGABYTE = 1_000_000
FROM_SDIST = ["tests/test_public.py", "tests/test_lowest.py", "tests/formats/tensorflow/test_bundle.py"]
"""Quick tests that read files of every kind: sources, pyproject.toml, fixtures."""


def build(target: str, folder: Path) -> Path:
    """Build as for an index, without a network: hatchling is installed."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "CKPTTOOL_REPOSITORY": ADDRESS}, check=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    return zipfile.ZipFile(build("wheel", tmp_path_factory.mktemp("wheel")))


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unpacked sdist."""
    folder = tmp_path_factory.mktemp("unpacked")
    with tarfile.open(build("sdist", tmp_path_factory.mktemp("sdist"))) as archive:
        archive.extractall(folder, filter="data")
    (inner,) = folder.iterdir()
    return inner


@pytest.fixture(scope="module")
def metadata(wheel: zipfile.ZipFile) -> Message:
    (name,) = (name for name in wheel.namelist() if name.endswith("/METADATA"))
    return message_from_bytes(wheel.read(name))


def test_a_wheel_has_the_package_alone(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert {re.sub(r"-\d+(\.\d+)*", "-VERSION", top) for top in tops} == {"ckpttool", "ckpttool-VERSION.dist-info"}
    assert {Path(name).suffix for name in wheel.namelist()} & {".proto", ".pyc", ".npz"} == set()
    assert Path(str(wheel.filename)).stat().st_size < 2 * MEGABYTE


def test_the_index_is_told_where_the_project_lives(metadata: Message) -> None:
    urls = dict(line.split(", ") for line in metadata.get_all("Project-URL", []))
    assert {"Source", "Documentation", "Changelog", "Issues", "Security"} == urls.keys()
    assert all(url.startswith(ADDRESS) for url in urls.values())
    files = [url.partition("/blob/main/")[2] for url in urls.values()]
    assert [file for file in files if not (ROOT / file).exists()] == []


def test_every_python_that_is_said_to_work_is_new_enough(metadata: Message) -> None:
    versions = re.findall(r"Python :: (3\.\d+)", "\n".join(metadata.get_all("Classifier", [])))
    assert versions == ["3.11", "3.12", "3.13"]
    assert PROJECT["requires-python"] == f">={versions[0]}"


def test_the_readme_renders_on_the_index_and_its_links_leave_it(metadata: Message) -> None:
    page = readme_renderer.markdown.render(str(metadata.get_payload()))
    assert page is not None
    targets = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert len(targets) > 20
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    pictures = re.findall(r'<img[^>]*src="([^"]+)"', page)
    assert all("/raw/main/" in picture for picture in pictures)
    of_files = [target.partition("/main/")[2].partition("#")[0] for target in targets if target.startswith(ADDRESS)]
    assert [file for file in of_files if not (ROOT / file).exists()] == []


@pytest.mark.slow
def test_tests_run_in_an_unpacked_sdist(unpacked: Path) -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *FROM_SDIST]
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    done = subprocess.run(command, cwd=unpacked, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d{2,} passed", done.stdout)


def test_an_sdist_has_every_file_that_tests_and_pages_read(unpacked: Path) -> None:
    """All files in the checkout's folders, and those at its top."""
    for folder in ("ckpttool", "tests", "docs", "fixtures", "benchmarks", "trust"):
        here = {path.relative_to(ROOT) for path in (ROOT / folder).rglob("*.*") if "__pycache__" not in path.parts}
        assert sorted(path for path in here if not (unpacked / path).exists()) == [], folder
    for name in ("Makefile", "SECURITY.md", "CONTRIBUTING.md", "CITATION.cff", "hatch_build.py"):
        assert (unpacked / name).exists(), name
