import shutil
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from runpy import run_path

import numpy as np
import pytest
from conformance import FormatTests, ReadingTests

from ckpttool import checkpoint
from ckpttool.core.errors import FormatError, MissingDependency
from ckpttool.formats import registry


@pytest.fixture
def fresh():
    """Clear the found formats before and after a test."""
    registry._added.cache_clear()
    yield
    registry._added.cache_clear()


def test_every_format_says_what_it_is():
    for name in registry.BUILTIN:
        found = registry.get(name)
        assert name == found.NAME
        assert type(found.SUFFIXES) is tuple
        assert found.LIMITS


def test_every_format_has_conformance_tests():
    modules = [run_path(str(path)) for path in Path(__file__).parent.glob("*/test_*.py")]
    classes = [found for module in modules for key, found in module.items() if key.startswith("Test")]
    tested, written = (
        {found.name for found in classes if issubclass(found, kind)} for kind in (ReadingTests, FormatTests)
    )
    assert tested == set(registry.BUILTIN)
    copied = {"keras-legacy"}  # written only as the copy of a file, which its own tests do
    assert written == {name for name in registry.BUILTIN if registry.get(name).WRITES} - copied


def test_a_package_whose_format_cannot_be_loaded_is_named(fresh, monkeypatch, tmp_path):
    """A working one is in test_plugin.py."""
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: [EntryPoint("lines", "no_such_package:Lines", group)]
    )
    assert registry.names() == [*registry.BUILTIN, "lines"]
    with pytest.raises(
        MissingDependency, match=r"format no_such_package:Lines, which a package adds, cannot be loaded"
    ):
        registry.get("lines")
    np.savez(tmp_path / "x.npz", a=np.zeros(1))
    assert registry.find(tmp_path / "x.npz").NAME == "npz"


def test_listing_a_bundle_imports_neither_numpy_nor_tensorflow(pytestconfig):
    program = (
        "import sys, ckpttool.checkpoint as c;"
        "assert len(c.open('fixtures/bundles/adam.ckpt-3').specs()) == 6;"
        "print([m for m in ('numpy', 'tensorflow', 'h5py', 'cramjam') if m in sys.modules])"
    )
    command = [sys.executable, "-c", program]
    run = subprocess.run(command, cwd=pytestconfig.rootpath, capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("[]\n", "")


def test_an_output_without_a_suffix_loads_no_other_format() -> None:
    script = "import sys; from pathlib import Path; from ckpttool.formats import registry; "
    script += "assert registry.for_output(Path('out/model-1000')).NAME == 'bundle'; "
    script += "sys.exit('ckpttool.formats.onnx.format' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
    assert all(suffix.startswith(".") for each in registry.every() for suffix in each.SUFFIXES if suffix)


def test_the_file_that_names_checkpoints_is_told_from_one(tmp_path):
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-7"')
    with pytest.raises(FormatError, match=f"refers to those of {tmp_path}: specify that folder"):
        registry.find(tmp_path / "checkpoint")


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".safetensors"])
def test_a_name_so_long_that_no_other_file_can_lie_beside_it(tmp_path, suffix):
    checkpoint.save({"a": np.ones(3)}, tmp_path / f"x{suffix}")
    longest = (tmp_path / f"x{suffix}").rename(tmp_path / f"{'n' * (255 - len(suffix))}{suffix}")
    assert checkpoint.open(longest)["a"].read().tolist() == [1, 1, 1]


def test_a_graph_alone_is_told_without_loading_formats_of_other_frameworks(pytestconfig, tmp_path):
    meta = shutil.copy(pytestconfig.rootpath / "fixtures" / "my_model_final.ckpt.meta", tmp_path / "lone.meta")
    program = (
        "import sys; from pathlib import Path; from ckpttool.core.errors import MissingFile;"
        "from ckpttool.formats import registry\n"
        f"try: registry.find(Path({str(meta)!r}))\n"
        "except MissingFile as error: print(error)\n"
        "print([name for name in sys.modules if 'pytorch' in name or 'onnx' in name])"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    said, loaded = run.stdout.splitlines()
    assert said.endswith("lone.index is missing: there is lone.meta, but a checkpoint needs its index")
    assert loaded == "[]"


def test_the_bytes_of_another_format_decide_under_the_name_of_a_graph(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.zeros(1))
    assert registry.find((tmp_path / "x.npz").rename(tmp_path / "x.meta")).NAME == "npz"
