import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
from conformance import FormatTests, tensors_of

from ckpttool import formats


@pytest.fixture
def fresh():
    """Forget what was found before and after a test."""
    formats._added.cache_clear()
    yield
    formats._added.cache_clear()


def test_every_format_says_what_it_is():
    for name in formats.BUILTIN:
        found = formats.get(name)
        assert name == found.NAME
        assert type(found.SUFFIXES) is tuple
        assert found.LIMITS


def test_every_format_has_conformance_tests():
    modules = [run_path(str(path)) for path in Path(__file__).parent.glob("*/test_*.py")]
    classes = [found for module in modules for key, found in module.items() if key.startswith("Test")]
    tested = {found.name for found in classes if issubclass(found, FormatTests)}
    assert tested == set(formats.BUILTIN)


class Lines:
    """A format that another package adds: names, one in a line."""

    NAME = "lines"
    SUFFIXES = (".lines",)
    LIMITS = "holds names only"
    WRITES = METADATA = False
    HOLDS = HEEDS = frozenset()

    def recognises(self, path):
        return path.suffix == ".lines"

    def open(self, path):
        return tensors_of(**{name: np.zeros(1) for name in path.read_text().split()})


def test_other_packages_add_formats(fresh, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "lines_plugin", sys.modules[__name__])
    monkeypatch.setattr(
        "importlib.metadata.entry_points",
        lambda group: [EntryPoint("lines", "lines_plugin:Lines", group)] if group == "ckpttool.formats" else [],
    )
    (tmp_path / "x.lines").write_text("a b")
    assert formats.names() == [*formats.BUILTIN, "lines"]
    assert list(formats.find(tmp_path / "x.lines").open(tmp_path / "x.lines")) == ["a", "b"]
    assert formats.for_output(tmp_path / "y.lines").NAME == "lines"


def test_listing_a_bundle_imports_neither_numpy_nor_tensorflow(pytestconfig):
    program = (
        "import sys, ckpttool.checkpoint as c;"
        "assert len(c.open('fixtures/bundles/adam.ckpt-3').specs()) == 6;"
        "print([m for m in ('numpy', 'tensorflow', 'h5py', 'cramjam') if m in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=pytestconfig.rootpath, capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("[]\n", "")
