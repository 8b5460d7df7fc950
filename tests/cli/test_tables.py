"""Tables at the widths of terminals, as reviewed: nothing is broken, and what does not fit is skipped.

The texts in `tables/` are the outputs at 60, 80, 120 and 200 characters; `python tests/cli/test_tables.py` writes them
again for review.
"""

import csv
import io
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ckpttool import checkpoint
from ckpttool.cli import COMMANDS, main
from ckpttool.cli.commands.zoo import SUBCOMMANDS
from ckpttool.cli.show.cells import shown_cell
from ckpttool.cli.show.fitting import Column, columns_of, fitted, records, shortened

HERE = Path(__file__).parent
KEPT = HERE / "tables"
MODEL = HERE.parents[1] / "fixtures" / "my_model_final.ckpt"
WIDTHS = (60, 80, 120, 200)
BLOCK = "bert/encoder/layer_11/attention/self/query"
SHOWN: dict[str, tuple[str, ...]] = {
    "vars": ("vars", "MODEL"),
    "vars-stats": ("vars", "MODEL", "--stats"),
    "long-names": ("vars", "LONG", "--slots"),
    "stats": ("stats", "MODEL"),
    "layers": ("layers", "MODEL"),
    "long-layers": ("layers", "LONG"),
    "diff": ("diff", "MODEL", "LONG"),
    "diff-by-layer": ("diff", "MODEL", "LONG", "--by-layer"),
    "collections": ("collections", "MODEL"),
    "edit-plan": ("edit", "MODEL", "--rename", r"hidden(\d)=>bert/encoder/layer_\1/attention", "--plan"),
    "rules": ("rules",),
    "scan": ("scan", "PICKLE"),
}
"""The commands to print at each width, by the name of the stored text."""


def printed(folder: Path, name: str) -> str:
    """Return the output of a command at all widths."""
    named = {"MODEL": str(MODEL), "LONG": str(folder / "long.ckpt"), "PICKLE": "model.pkl"}
    words = [named.get(word, word) for word in SHOWN[name]]
    texts = []
    for width in WIDTHS:
        environment = {"CKPTTOOL_TABLE": "1", "COLUMNS": str(width)}
        text = CliRunner(env=environment).invoke(main, words).output
        lines = [line.rstrip() for line in text.replace(str(MODEL), "MODEL").splitlines()]
        texts.append("\n".join([f"{width} ".ljust(width, "="), *lines]))
    return "\n\n".join(texts) + "\n"


def prepare(folder: Path) -> None:
    """Write the input files."""
    values = {f"{BLOCK}/{part}": np.linspace(-1, 2, 32, dtype=np.float32) for part in ("kernel", "bias")}
    values |= {f"{BLOCK}/kernel/adam_m": np.zeros(32, np.float32), "global_step": np.array(1234567)}
    checkpoint.save(values, folder / "long.ckpt")
    (folder / "model.pkl").write_bytes(b"cposix\nsystem\n(S'echo'\ntR.")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    prepare(folder)
    return folder


@pytest.mark.parametrize("name", SHOWN)
def test_a_table_is_printed_as_it_was_looked_at(name: str, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(prepared)
    assert printed(prepared, name) == (KEPT / f"{name}.txt").read_text("utf-8")


def test_no_kept_line_is_wider_than_its_terminal() -> None:
    for path in KEPT.glob("*.txt"):
        for block in path.read_text("utf-8").split("\n\n"):
            lines = block.splitlines()
            if re.match(r"\d+ =", lines[0]):
                notes = ("omitted", "skipped", "--layers", "the graph", "scanned", " same, ", "file")
                table = [line for line in lines if not any(note in line for note in notes)]
                assert max(map(len, table)) <= int(lines[0].split()[0]), path.name


texts = st.one_of(
    st.text("abc/_ ", max_size=60), st.floats(), st.integers(), st.booleans(), st.none(), st.lists(st.integers(0, 999))
)


@given(st.lists(st.lists(texts, min_size=4, max_size=4), min_size=1, max_size=5), st.integers(20, 120))
def test_what_fits_has_whole_words_and_numbers(rows: list[list[Any]], width: int) -> None:
    names = ["name", "gradient_to_weight", "bytes", "kind of"]
    shown = [[shown_cell(value, name) for value, name in zip(row, names, strict=True)] for row in rows]
    columns = columns_of(names, rows, shown)
    found = fitted(columns, width)
    if found is None:
        assert [len(record) for record in records(columns, width)] == [sum(map(bool, row)) for row in shown]
        return
    assert sum(found.widths) + 2 * (len(found.widths) - 1) <= width
    assert [each.name for each in found.columns if each.name in found.left_out] == []
    for column, size in zip(found.columns, found.widths, strict=True):
        own = next(each for each in columns if each.name == column.name)
        assert not own.is_number or column.cells == own.cells
        assert column.wraps or size >= max(map(len, (column.name, *column.cells)))
        words = [word for text in (column.name, *column.cells) for word in text.split()]
        assert max(map(len, words)) <= size


def test_columns_are_left_out_in_their_order_and_said_in_that_of_the_table() -> None:
    columns = [Column(name, ("x" * 15,)) for name in ("a", "b", "c", "d")]
    for order, left in ((None, ["c", "d"]), (("b", "c"), ["b", "c"])):
        found = fitted(columns, 40, order)
        assert found is not None and found.left_out == left
    assert fitted(columns, 40, ()) is None
    assert fitted(columns, 66, ()) is not None


def test_a_name_lacks_its_middle_and_a_number_nothing() -> None:
    assert shortened(f"{BLOCK}/kernel", 24) == "bert/encode...uery/kernel"[:11] + "..." + f"{BLOCK}/kernel"[-10:]
    number = Column("count", ("1" * 50,), is_number=True)
    assert number.with_names_of(20) == number


def test_numbers_are_on_the_right_with_four_digits_and_sizes_for_people(prepared: Path) -> None:
    environment = {"CKPTTOOL_TABLE": "1", "COLUMNS": "200"}
    lines = CliRunner(env=environment).invoke(main, ["vars", str(MODEL), "--stats"]).stdout.splitlines()
    place = lines[0].index("bytes") + len("bytes")
    assert [line[:place].split()[-2:] for line in lines[1:3]] == [["1.2", "kB"], ["941", "kB"]]
    assert lines[2].split()[-8:] == ["0.0005664", "0.04339", "-0.1324", "0.1236", "0", "0", "0", "21.05"]


class Formats:
    """Rows of one command in each format."""

    COMMAND = ("vars", MODEL, "--layers", "outputs")

    def __init__(self, shell: Any) -> None:
        self.shell = shell

    def lines(self, *options: str) -> list[str]:
        found: list[str] = self.shell.lines(*self.COMMAND, *options)
        return found


@pytest.fixture
def formats(shell: Any) -> Formats:
    return Formats(shell)


ROW = ["outputs/bias", "[10]", "float32", "40", "weight"]
HEADER = ["name", "shape", "dtype", "bytes", "kind"]


def test_tsv_has_a_header_where_it_is_asked_for(formats: Formats) -> None:
    assert formats.lines("--format", "tsv")[0].split("\t") == ROW
    assert formats.lines() == formats.lines("--format", "tsv")
    with_header = formats.lines("--header")
    assert (with_header[0].split("\t"), with_header[1].split("\t")) == (HEADER, ROW)


def test_csv_is_read_again(formats: Formats) -> None:
    rows = list(csv.reader(io.StringIO("\n".join(formats.lines("--format", "csv")))))
    assert rows == [HEADER, ROW, ["outputs/kernel", "[50, 10]", "float32", "2000", "weight"]]
    assert formats.lines("--format", "csv", "--no-header")[0] == "outputs/bias,[10],float32,40,weight"


def test_json_has_all_and_jsonl_a_row_to_a_line(formats: Formats) -> None:
    rows = json.loads("\n".join(formats.lines("--json")))
    assert rows[0] == {"name": "outputs/bias", "shape": [10], "dtype": "float32", "bytes": 40, "kind": "weight"}
    assert json.loads("\n".join(formats.lines("--format", "json"))) == rows
    assert list(map(json.loads, formats.lines("--format", "jsonl"))) == rows


def test_markdown_is_a_table_of_github(formats: Formats) -> None:
    assert formats.lines("--format", "markdown")[:3] == [
        "| name | shape | dtype | bytes | kind |",
        "| --- | --- | --- | --- | --- |",
        "| outputs/bias | [10] | float32 | 40 | weight |",
    ]


def test_a_table_is_printed_where_it_is_asked_for(formats: Formats) -> None:
    assert formats.lines("--format", "table")[0].split() == HEADER


def test_a_cell_may_have_what_parts_cells(shell: Any, tmp_path: Path) -> None:
    checkpoint.save({'a|b,"c"': np.zeros(1, np.float32)}, tmp_path / "odd.ckpt")
    assert shell.lines("vars", tmp_path / "odd.ckpt", "--format", "markdown")[2].startswith(r"| a\|b,\"c\" |")
    assert shell.lines("vars", tmp_path / "odd.ckpt", "--format", "csv")[1].startswith('"a|b,""c""",[1]')


def test_a_name_in_markdown_is_text_not_html_or_a_link(shell: Any, tmp_path: Path) -> None:
    from markdown_it import MarkdownIt

    names = ["<img src=x onerror=alert(1)>", "[a](http://elsewhere)", "![a](http://elsewhere)", "a\\|b", "`c`", "_d_"]
    checkpoint.save({name: np.zeros(1, np.float32) for name in names}, tmp_path / "odd.ckpt")
    lines = shell.lines("vars", tmp_path / "odd.ckpt", "--format", "markdown")
    parsed = MarkdownIt("commonmark", {"html": True}).enable("table").parse("\n".join(lines))
    cells = [token.children for token in parsed if token.type == "inline"]
    assert [cell[0].content for cell in cells if cell][5::5] == sorted(names)
    assert {child.type for cell in cells for child in cell or ()} == {"text"}


def test_json_and_another_format_exclude_each_other(shell: Any, formats: Formats) -> None:
    assert "--json and --format csv exclude each other" in shell.error(*formats.COMMAND, "--json", "--format", "csv")
    assert "'yaml' is not one of" in shell.error(*formats.COMMAND, "--format", "yaml")


def test_a_document_is_said_aside_where_rows_are_asked_for(shell: Any, prepared: Path) -> None:
    result = shell.run("latest", prepared, "--format", "csv")
    assert (result.stdout, result.stderr.splitlines()[-1]) == ("", str(prepared / "long.ckpt"))


def test_the_answer_of_a_report_is_in_rows_too(shell: Any, prepared: Path) -> None:
    rows = [json.loads(line) for line in shell.lines("stats", MODEL, "--format", "jsonl")]
    assert rows[:-1] == shell.json("stats", MODEL)["tensors"]


FIRST_LINES = {
    "vars": "name shape dtype bytes kind",
    "layers": "name parameters output variables",
    "ops": "name type",
    "stats": "name kind count mean std min max zeros nan inf norm",
    "collections": "name kind size items",
}


@pytest.mark.parametrize("command", FIRST_LINES)
@pytest.mark.parametrize("width", ["20", "200"])
def test_the_first_line_of_tsv_is_the_same_at_any_width(command: str, width: str, shell: Any) -> None:
    result = CliRunner(env={"COLUMNS": width}).invoke(main, [command, str(MODEL), "--format", "tsv", "--header"])
    assert result.stdout.splitlines()[0].split("\t") == FIRST_LINES[command].split()


PRINTS_ROWS = re.compile(r"\b(print_rows|print_report|show_plan|print_search|execute)\(")
NO_ROWS = {"split", "join", "zoo show"}
"""Commands that report what they did and show no plan; and one whose output is a document with tables."""


@pytest.mark.parametrize("name", [*COMMANDS, *(f"zoo {name}" for name in SUBCOMMANDS)])
def test_every_command_that_prints_rows_does_so_in_each_format(name: str) -> None:
    group, _, sub = name.partition(" ")
    place = f"zoo/{SUBCOMMANDS[sub]}" if sub else COMMANDS[name][1]
    path = HERE.parents[1] / "ckpttool" / "cli" / "commands" / place.partition(":")[0]
    if not path.with_suffix(".py").exists() or name in NO_ROWS:
        return
    command: Any = main.get_command(click.Context(main), group)
    command = command.get_command(click.Context(command), sub) if sub else command
    options = {option for each in command.params for option in each.opts}
    if PRINTS_ROWS.search(path.with_suffix(".py").read_text()):
        assert {"--format", "--header", "--json"} <= options


def test_a_terminal_gets_tables_of_its_own_width(prepared: Path) -> None:
    command = [sys.executable, "-m", "ckpttool", "vars", str(prepared / "long.ckpt"), "--slots"]
    environment = {**os.environ, "CKPTTOOL_TABLE": "1", "COLUMNS": "44"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert max(len(line.rstrip()) for line in done.stdout.splitlines()) <= 44
    assert done.stderr.startswith("omitted to fit the width: ")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        prepare(Path(made))
        os.chdir(made)
        for each in SHOWN:
            (KEPT / f"{each}.txt").write_text(printed(Path(made), each), "utf-8")
