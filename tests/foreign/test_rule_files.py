"""Files of rules: both ways to write them give one list, and what is wrong is named with its place."""

from pathlib import Path

import pytest

from ckpttool.core.errors import CkptError, MissingFile
from ckpttool.foreign.rules import Rule, read_rules


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
        ("from = 'b'\ntoo = 'c'", "too is no key of a rule; nearest: to"),
        ("from = 'b'\nto = 3", "to = 3, expected a text or a list of texts"),
        ("from = 'b'\nto = 'c'\ndrop = true", "a rule has from, and either to or drop = true"),
        ("from = 'b'", "a rule has from, and either to or drop = true"),
        ("to = 'b'", "a rule has from, and either to or drop = true"),
        ("from = ['b', 3]\nto = 'c'", "from = ['b', 3], expected a text or a list of texts"),
        ("from = 'b'\nto = 'c'\ntransform = 'turn'", "no layout turn"),
        ("from = 'b'\ndrop = true\ntransform = 'dense'", "what is dropped has no transform"),
        ("from = 'b'\ndrop = true\ncopy = true", "what is dropped has no transform, and is no copy"),
        ("from = 'b'\nto = 'c'\noptional = 1", "optional = 1, expected true or false"),
        ("from = 'b('\nto = 'c'", "is not understood"),
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
