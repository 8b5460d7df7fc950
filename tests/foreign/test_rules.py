"""Rules: the first match wins, each must be used, and no two tensors get one name."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from ckpttool.core.errors import CkptError, MissingFile, PlanError, UnknownName
from ckpttool.foreign.rules import Rule, TensorMove, moves, parse_rule, read_rules


def rename(names: Iterable[str], rules: Sequence[Rule]) -> dict[str, str]:
    """Each name's new name, for rules of single tensors."""
    return {move.sources[0]: "".join(move.targets) for move in moves(names, rules)}


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
    with pytest.raises(UnknownName, match="the rule 'fcl' => 'hidden' matches nothing; nearest: fc1"):
        rename(["fc1/kernel"], [Rule("fcl", "hidden")])
    with pytest.raises(UnknownName, match="matches nothing"):
        rename(["fc1/kernel"], [Rule("fc1", "a"), Rule("fc.", "b")])


def test_two_tensors_of_one_name_are_an_error() -> None:
    with pytest.raises(PlanError, match="a/kernel and b/kernel would both be named c/kernel"):
        rename(["a/kernel", "b/kernel"], [Rule("[ab]", "c")])
    with pytest.raises(PlanError, match="a and b would both be named b"):
        rename(["a", "b"], [Rule("a", "b")])


def test_names_can_be_swapped() -> None:
    assert rename(["a", "b"], [Rule("a", "b"), Rule("b", "a")]) == {"a": "b", "b": "a"}


@pytest.mark.parametrize("text", ["fc1", "=>x", "a=>b=>c", "fc(=>x", r"fc=>\1"])
def test_rules_that_are_not_understood(text: str) -> None:
    with pytest.raises(CkptError):
        parse_rule(text)


def test_an_optional_rule_may_match_nothing() -> None:
    assert rename(["fc1/kernel"], [Rule("conv", "c", optional=True)]) == {"fc1/kernel": "fc1/kernel"}


def test_several_tensors_go_together_where_their_groups_agree() -> None:
    parts = (r"layer(\d)\.weight_ih", r"layer(\d)\.weight_hh")
    rule = Rule(parts, r"rnn_\1/kernel", transform="lstm(torch, keras)")
    names = ["layer1.weight_hh", "layer0.weight_ih", "layer0.weight_hh", "layer2.weight_ih"]
    assert moves(names, [rule]) == [
        TensorMove(("layer1.weight_hh",), ("layer1.weight_hh",)),
        TensorMove(("layer0.weight_ih", "layer0.weight_hh"), ("rnn_0/kernel",), "lstm(torch, keras)"),
        TensorMove(("layer2.weight_ih",), ("layer2.weight_ih",)),
    ]


def test_one_tensor_becomes_several() -> None:
    rule = Rule(r"(.*)\.in_proj", (r"\1/query", r"\1/key", r"\1/value"), transform="attention(torch, tf1)")
    (move,) = moves(["self.in_proj"], [rule])
    assert move.targets == ("self/query", "self/key", "self/value")


def test_a_rule_that_takes_tensors_together_needs_all_of_them() -> None:
    with pytest.raises(UnknownName, match="matches nothing"):
        moves(["a.kernel"], [Rule((r"(.)\.kernel", r"(.)\.bias"), r"\1", transform="keep")])


def test_patterns_whose_groups_cannot_agree() -> None:
    with pytest.raises(CkptError, match="different numbers of groups"):
        Rule(("a(.)", "b"), "c")


def test_a_transform_that_is_no_layout() -> None:
    with pytest.raises(UnknownName, match=r"no layout densse; known: .*; nearest: dense"):
        Rule("a", "b", transform="densse")


def test_as_many_new_names_as_patterns_are_pairs() -> None:
    rule = Rule((r"(.*)\.weight", r"(.*)\.running_mean"), (r"\1/gamma", r"\1/moving_mean"), transform="auto")
    assert moves(["bn.running_mean", "fc.weight", "bn.weight"], [rule]) == [
        TensorMove(("bn.running_mean",), ("bn/moving_mean",), "auto"),
        TensorMove(("fc.weight",), ("fc.weight",)),
        TensorMove(("bn.weight",), ("bn/gamma",), "auto"),
    ]


def test_files_of_lines_and_of_toml(tmp_path: Path) -> None:
    expected = [Rule(r"fc(\d)", r"hidden\1"), Rule("steps", "")]
    lines, toml = tmp_path / "rules.txt", tmp_path / "rules.toml"
    lines.write_text("# names of ours\n\nfc(\\d) => hidden\\1\nsteps =>\n")
    toml.write_text("[rename]\n'fc(\\d)' = 'hidden\\1'\nsteps = ''\n")
    assert read_rules(lines) == read_rules(toml) == expected


def test_tables_of_rules(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(
        "[[rule]]\nfrom = 'fc(\\d)'\nto = 'hidden\\1'\n"
        "[[rule]]\nfrom = '.*num_batches_tracked'\ndrop = true\noptional = true\n"
        "[[rule]]\nfrom = 'tied'\nto = 'table'\ncopy = true\n"
    )
    dropped, tied = Rule(".*num_batches_tracked", "", optional=True), Rule("tied", "table", copy=True)
    assert read_rules(path) == [Rule(r"fc(\d)", r"hidden\1"), dropped, tied]


@pytest.mark.parametrize(
    ("second", "problem"),
    [
        ("from = 'b'\ntoo = 'c'", "too is not a key of a rule; nearest: to"),
        ("from = 'b'\nto = 3", "to = 3, expected a text or a list of texts"),
        ("from = 'b'\nto = 'c'\ndrop = true", "a rule needs from, and either to or drop = true"),
        ("from = 'b'", "a rule needs from, and either to or drop = true"),
        ("to = 'b'", "a rule needs from, and either to or drop = true"),
        ("from = ['b', 3]\nto = 'c'", "from = ['b', 3], expected a text or a list of texts"),
        ("from = 'b'\nto = 'c'\ntransform = 'turn'", "no layout turn"),
        ("from = 'b'\ndrop = true\ntransform = 'dense'", "a rule with drop = true has neither transform nor copy"),
        ("from = 'b'\ndrop = true\ncopy = true", "a rule with drop = true has neither transform nor copy"),
        ("from = 'b'\nto = 'c'\noptional = 1", "optional = 1, expected true or false"),
        ("from = 'b('\nto = 'c'", "cannot be parsed"),
    ],
)
def test_a_bad_table_is_named_by_its_number(tmp_path: Path, second: str, problem: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(f"[[rule]]\nfrom = 'a'\nto = 'd'\n[[rule]]\n{second}\n")
    with pytest.raises(CkptError, match=r"rules\.toml, rule 2: ") as error:
        read_rules(path)
    assert problem in str(error.value)


@pytest.mark.parametrize(("name", "text"), [("r.txt", "ok => fine\nbad\n"), ("r.toml", "rename = 3"), ("r.toml", "[x")])
def test_files_that_are_not_understood(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CkptError, match=r"r\.(txt|toml)"):
        read_rules(tmp_path / name)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFile):
        read_rules(tmp_path / "none.txt")
