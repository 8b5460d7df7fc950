"""`rules`: the included rules are listed, and each set is printed as a file for `--rules`."""

from pathlib import Path
from typing import Any

import pytest

from ckpttool.foreign.rules import READY_SETS, Rule, read_rules


def test_the_list(shell: Any) -> None:
    sets = {row["name"]: row["for"] for row in shell.json("rules")}
    assert list(sets) == [
        "bert-keras-tf1",
        "bert-pytorch-tf1",
        "caffe",
        "keras-sequential",
        "pytorch",
        "resnet50-keras-tf1",
        "resnet50-pytorch-tf1",
    ]
    assert all(sets.values())
    assert shell.lines("rules")[2].startswith("caffe\tCaffe's .caffemodel.h5")


@pytest.mark.parametrize("name", READY_SETS)
def test_what_is_printed_can_be_edited_and_used(shell: Any, tmp_path: Path, name: str) -> None:
    copy = tmp_path / "rules.toml"
    copy.write_text(shell.run("rules", name).stdout)
    ready = read_rules(Path(name))
    assert read_rules(copy) == ready
    assert all(isinstance(rule, Rule) and rule.optional for rule in ready)


def test_a_set_that_is_not_there(shell: Any) -> None:
    line = shell.error("rules", "pytorh")
    assert (
        line == "no included rule set is named pytorh; nearest: pytorch, bert-pytorch-tf1; `ckpttool rules` lists them"
    )
