"""The groups of mutation testing: no reader, and nothing that fetches, is left out."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "trust"))
from mutation_groups import BY_HAND, CHECKED, GROUPS, PACKAGES, ROOT
from mutations import gone

GENERATED = "formats/wire/protos"


def modules_of(place: str) -> set[str]:
    found = (path.relative_to(ROOT / "ckpttool") for path in (ROOT / "ckpttool" / place).rglob("*.py"))
    return {path.as_posix() for path in found if path.name != "__init__.py" and path.parent.as_posix() != GENERATED}


@pytest.mark.parametrize("place", ["formats", "remote", "catalogue", "lineage", "scanning", "surgery/patching"])
def test_every_module_there_is_changed_as_a_whole_in_a_group(place: str) -> None:
    whole = {module for group in GROUPS.values() if not group.functions for module in group.modules}
    assert modules_of(place) - whole == set()


def test_every_reader_is_a_group_by_the_name_of_its_package() -> None:
    folders = {path.parent.name for path in (ROOT / "ckpttool" / "formats").glob("*/format.py")}
    assert {"pytorch", "onnx", "tfjs", "tflite"} < folders
    assert folders <= set(GROUPS)


@pytest.mark.parametrize("name", GROUPS)
def test_the_modules_and_the_tests_of_a_group_are_there(name: str) -> None:
    group = GROUPS[name]
    assert group.modules
    assert group.tests
    assert [module for module in group.modules if not (ROOT / "ckpttool" / module).is_file()] == []
    assert [test for test in group.tests if not (ROOT / "tests" / test).exists()] == []


def test_what_deviates_is_of_a_package_and_what_is_tested_by_default_is_a_group() -> None:
    assert set(PACKAGES) <= set(GROUPS) - set(BY_HAND)
    assert set(CHECKED) <= set(GROUPS)


def test_a_module_without_a_group_is_noticed_where_its_survivor_is_explained() -> None:
    assert gone([("verbs/nowhere.py", "act: return 1 [return -> pass]")])
