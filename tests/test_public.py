"""The public names: each can be imported, and `import ckpttool` alone imports nothing else."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import ckpttool


@pytest.mark.parametrize("name", ckpttool.__all__)
def test_every_public_name_imports(name: str) -> None:
    found = getattr(ckpttool, name)
    assert callable(found)
    assert found.__doc__, name


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(str(ckpttool.__file__)).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    imported = [
        (str(node.module), alias) for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names
    ]
    assert {alias.asname for _, alias in imported} == set(ckpttool.__all__)
    for module, alias in imported:
        assert getattr(importlib.import_module(module), alias.name) is getattr(ckpttool, alias.name)


def test_a_name_that_is_not_public() -> None:
    with pytest.raises(AttributeError, match="module 'ckpttool' has no attribute 'opne'"):
        ckpttool.opne  # noqa: B018


def test_importing_the_package_imports_nothing_else() -> None:
    probe = "import sys; before = set(sys.modules); import ckpttool; print(*sorted(set(sys.modules) - before))"
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.split()
    assert [name for name in found if name.partition(".")[0] not in sys.stdlib_module_names] == ["ckpttool"]


def test_opening_a_checkpoint_needs_no_tensorflow() -> None:
    model = Path(__file__).parents[1] / "fixtures" / "my_model_final.ckpt"
    probe = f"import sys, ckpttool; c = ckpttool.open({str(model)!r}); c.specs(); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.split()
    assert {"tensorflow", "keras", "h5py"} & set(found) == set()
