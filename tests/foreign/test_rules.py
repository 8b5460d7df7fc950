"""Rules: the first that matches wins, each must be used, and no two tensors get one name."""

from pathlib import Path

import pytest

from ckpttool.errors import CkptError, MissingFile, PlanError, UnknownName
from ckpttool.foreign.rules import Rule, parse_rule, read_rules, rename


def test_the_first_rule_that_matches_wins() -> None:
    rules = [Rule("fc1", "first"), Rule("fc(.)", r"dense\1")]
    assert rename(["fc1/kernel", "fc2/kernel", "other"], rules) == {
        "fc1/kernel": "first/kernel",
        "fc2/kernel": "dense2/kernel",
        "other": "other",
    }


def test_names_with_dots() -> None:
    assert rename(["net.0.weight"], [Rule(r"net\.(\d)\.weight", r"conv\1/kernel")]) == {"net.0.weight": "conv0/kernel"}


def test_an_empty_new_name_leaves_out() -> None:
    assert rename(["fc/kernel", "steps"], [Rule("steps", "")]) == {"fc/kernel": "fc/kernel", "steps": ""}


def test_a_rule_that_is_not_used_is_an_error() -> None:
    with pytest.raises(UnknownName, match="the rule 'fcl' => 'hidden' was used for nothing; nearest: fc1"):
        rename(["fc1/kernel"], [Rule("fcl", "hidden")])
    with pytest.raises(UnknownName, match="used for nothing"):
        rename(["fc1/kernel"], [Rule("fc1", "a"), Rule("fc.", "b")])


def test_two_tensors_of_one_name_are_an_error() -> None:
    with pytest.raises(PlanError, match="a/kernel and b/kernel would both be named c/kernel"):
        rename(["a/kernel", "b/kernel"], [Rule("[ab]", "c")])
    with pytest.raises(PlanError, match="a and b would both be named b"):
        rename(["a", "b"], [Rule("a", "b")])


def test_names_can_be_swapped() -> None:
    assert rename(["a", "b"], [Rule("a", "b"), Rule("b", "a")]) == {"a": "b", "b": "a"}


def test_files_of_lines_and_of_toml(tmp_path: Path) -> None:
    expected = [Rule(r"fc(\d)", r"hidden\1"), Rule("steps", "")]
    lines, toml = tmp_path / "rules.txt", tmp_path / "rules.toml"
    lines.write_text("# names of ours\n\nfc(\\d) => hidden\\1\nsteps =>\n")
    toml.write_text("[rename]\n'fc(\\d)' = 'hidden\\1'\nsteps = ''\n")
    assert read_rules(lines) == read_rules(toml) == expected


@pytest.mark.parametrize("text", ["fc1", "=>x", "a=>b=>c", "fc(=>x", r"fc=>\1"])
def test_rules_that_are_not_understood(text: str) -> None:
    with pytest.raises(CkptError):
        parse_rule(text)


@pytest.mark.parametrize(("name", "text"), [("r.txt", "ok => fine\nbad\n"), ("r.toml", "rename = 3"), ("r.toml", "[x")])
def test_files_that_are_not_understood(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CkptError, match=r"r\.(txt|toml)"):
        read_rules(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        read_rules(tmp_path / "none.txt")
