"""A study is one file from which a search resumes: trials of one question, each whole and once, whatever happens."""

import os
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from ckpttool.core.errors import CkptError, CorruptCheckpoint, FormatError, PlanError
from ckpttool.searching.configurations import SCRATCH, Block, Configuration, Outcome
from ckpttool.searching.study import Study
from ckpttool.searching.study_file import checksum

QUESTION = {"model": "net.ckpt", "head": "outputs = dense(5)", "epochs": 20, "seeds": [0, 1]}
ONE = Configuration(2, 1)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "out.study"


def write(path: Path, *trials: tuple[Configuration, Block, Outcome]) -> None:
    with Study.open(path, QUESTION) as study:
        for trial in trials:
            study.add(*trial)


def outcome(*correct: float, **facts: object) -> Outcome:
    return Outcome(np.array(correct), **facts)  # type: ignore[arg-type]


def test_trials_are_there_as_they_were_when_it_is_opened_again(path: Path) -> None:
    rows = np.array([5, 2, 9])
    write(
        path,
        (ONE, Block(0, 1), outcome(1, 0, 1, seconds=2.5, epochs=7, rows=rows)),
        (ONE, Block(0, 2), outcome(0.25, 1 / 3, 1)),
        (SCRATCH, Block(0, 1), outcome(state="failed", reason="the loss is NaN")),
    )
    with Study.open(path, QUESTION) as study:
        kept = study.outcomes[ONE][Block(0, 1)]
        assert (kept.correct.tolist(), kept.seconds, kept.epochs, kept.state) == ([1, 0, 1], 2.5, 7, "done")
        assert kept.rows is not None
        assert kept.rows.tolist() == [5, 2, 9]
        assert study.outcomes[ONE][Block(0, 2)].correct.tolist() == [0.25, 1 / 3, 1]
        assert study.outcomes[SCRATCH][Block(0, 1)].reason == "the loss is NaN"
        assert study.trials()[1] == {
            **{"keep": 2, "freeze": 1, "seed": 0, "fold": 1},
            **{"valid_accuracy": 2 / 3, "seconds": 2.5, "state": "done"},
        }
    assert sorted(file.name for file in path.parent.iterdir()) == ["out.study"]


def test_numbers_of_numpy_are_numbers(path: Path) -> None:
    """As from a loop over arrays: SQLite would store it as bytes, or reject it."""
    three = np.int64(3)
    write(path, (Configuration(three, three), Block(three), outcome(1, 0, epochs=three, seconds=np.float32(2))))
    with Study.open(path, QUESTION) as study:
        assert study.outcomes[Configuration(3, 3)][Block(3)].epochs == 3


def test_a_trial_is_there_once(path: Path) -> None:
    write(path, (ONE, Block(0), outcome(1, 0)))
    with pytest.raises(PlanError, match="keep 2, freeze 1, seed 0, fold 0: this trial is there already"):
        write(path, (ONE, Block(0), outcome(1, 1)))


@pytest.mark.parametrize("scores", [(1.0, 2.0), (-0.1, 1.0), (float("nan"), 1.0)])
def test_scores_are_shares(path: Path, scores: tuple[float, ...]) -> None:
    with pytest.raises(PlanError, match="scores are from 0 to 1"):
        write(path, (ONE, Block(0), outcome(*scores)))


def test_a_block_judges_the_same_rows_for_all(path: Path) -> None:
    write(path, (ONE, Block(0), outcome(1, 0, rows=np.array([3, 4]))))
    with pytest.raises(PlanError, match="other rows were judged"):
        write(path, (SCRATCH, Block(0), outcome(1, 0, rows=np.array([3, 5]))))
    with Study.open(path, QUESTION) as study:
        assert list(study.outcomes) == [ONE]


# ---- other questions, other files ----


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"epochs": 30}, "epochs was 20, is 30"),
        ({"seeds": [0]}, "seeds was [0, 1], is [0]"),
        ({"lr": 0.1}, "lr was not given, is 0.1"),
        ({"epochs": None}, "epochs was 20, is not given"),
        ({"model": "m" * 99}, f'model was "net.ckpt", is "{"m" * 55} ...'),
    ],
)
def test_another_question_is_refused_by_what_differs(path: Path, change: dict[str, object], told: str) -> None:
    write(path, (ONE, Block(0), outcome(1, 0)))
    with pytest.raises(PlanError) as error:
        Study.open(path, {**QUESTION, **change})
    assert told in str(error.value)
    assert "\n" not in str(error.value)
    with Study.open(path, {**QUESTION, **change}, overwrite=True) as study:
        assert study.outcomes == {}


def test_what_json_has_no_kind_for_is_compared_as_it_is_written(path: Path) -> None:
    for _ in range(2):
        with Study.open(path, {"seeds": (0, 1), "data": Path("rows.npz"), "lr": None}) as study:
            assert study.outcomes == {}


def foreign_text(path: Path) -> None:
    path.write_text("keep\tfreeze\n")


def foreign_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE studies (study_id INTEGER)")
    connection.close()


def newer(path: Path) -> None:
    write(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()


def truncated(path: Path) -> None:
    write(path, *((Configuration(3, k), Block(0), outcome(*[1.0] * 5_000)) for k in range(4)))
    path.write_bytes(path.read_bytes()[:-6_000])


def flipped(path: Path) -> None:
    write(path, (ONE, Block(0), outcome(*[1.0] * 5_000)))
    content = bytearray(path.read_bytes())
    content[content.index(b"\1" * 1000) + 500] ^= 1
    path.write_bytes(content)


def without_tables(path: Path) -> None:
    write(path)
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE trials")
    connection.close()


def with_bytes_for_a_statement(path: Path) -> None:
    write(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = CAST(sql AS BLOB) WHERE name = 'trials'")
    connection.close()


def with_bytes_for_a_text(path: Path) -> None:
    write(path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE question SET value = CAST(value AS BLOB)")
    connection.close()


@pytest.mark.parametrize(
    ("make", "kind", "told"),
    [
        (foreign_text, FormatError, "not a study; choose another output, or specify `overwrite`"),
        (foreign_database, FormatError, "a database of another program; choose another output"),
        (newer, FormatError, r"a study of a newer ckpttool \(version 9; this one knows 2\): update it"),
        (truncated, CorruptCheckpoint, r"the study is damaged \(.*\); specify `overwrite` to start again"),
        (flipped, CorruptCheckpoint, r"damaged \(the checksum of keep 2, freeze 1, seed 0, fold 0 does not hold\)"),
        (with_bytes_for_a_statement, CorruptCheckpoint, r"damaged \(its tables are not those of a study\)"),
        (with_bytes_for_a_text, CorruptCheckpoint, r"damaged \(what was asked is not a text\)"),
        (without_tables, CorruptCheckpoint, r"damaged \(its tables are not those of a study\)"),
    ],
)
def test_a_file_that_is_no_sound_study_is_left_as_it_is(
    path: Path, make: Callable[[Path], None], kind: type[CkptError], told: str
) -> None:
    make(path)
    before = path.read_bytes()
    with pytest.raises(kind, match=told) as error:
        Study.open(path, QUESTION)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before
    with Study.open(path, QUESTION, overwrite=True) as study:
        assert study.outcomes == {}


def test_no_changed_byte_changes_a_trial(path: Path) -> None:
    """Any flip is rejected with ckpttool's error, or does not change what is read."""
    with Study.open(path, {"head": "dense(5)"}) as study:
        for keep in (1, 2, 3):
            outcome = Outcome(np.array([1.0, 0.0, 0.5]), 2.5, 3, rows=np.arange(3))
            study.add(Configuration(keep, 1), Block(0), outcome)
    data, found = path.read_bytes(), 0
    texts = [at for mark in (b"done", b"dense(5)") for at in range(data.rindex(mark) - 40, data.rindex(mark) + 40)]
    for number, at in enumerate([*range(0, len(data), 211), *texts]):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << number % 8]) + data[at + 1 :])
        try:
            with Study.open(path, {"head": "dense(5)"}) as study:
                trials = study.trials()
                rows = [outcomes[Block(0)].rows.tolist() for outcomes in study.outcomes.values()]  # type: ignore[union-attr]
        except CkptError:
            found += 1
        else:
            assert [(row["keep"], row["seconds"], row["state"]) for row in trials] == [
                (n, 2.5, "done") for n in (1, 2, 3)
            ]
            assert rows == [[0, 1, 2]] * 3
    assert found > 50


def test_a_folder_or_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CkptError, match="is a folder; a study is a file"):
        Study.open(tmp_path, QUESTION)
    with pytest.raises(CkptError, match=r"the folder .*/none does not exist"):
        Study.open(tmp_path / "none" / "out.study", QUESTION)


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that nobody can write to")
def test_a_folder_that_cannot_be_written_to_is_told() -> None:
    with pytest.raises(CkptError, match=r"cannot be written .*unable to open.*; choose an output where there is room"):
        Study.open(Path("/proc/self/out.study"), QUESTION)


def test_a_disk_that_is_full_is_told_and_the_trials_before_it_stay(path: Path) -> None:
    with Study.open(path, QUESTION) as study:
        study.add(SCRATCH, Block(0), outcome(1, 0))
        study._file._connection.execute("PRAGMA max_page_count = 10")
        with pytest.raises(CkptError, match=r"cannot be written \(database or disk is full\)"):
            study.add(ONE, Block(0), outcome(*[0.5] * 50_000))
        assert list(study.outcomes) == [SCRATCH]
    with Study.open(path, QUESTION) as study:
        assert list(study.outcomes) == [SCRATCH]


def test_a_second_search_that_would_write_it_is_refused(path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from ckpttool.searching.study import Study
from ckpttool.searching.study_file import checksum
try:
    Study.open(Path({str(path)!r}), {QUESTION!r}, overwrite=bool(sys.argv[1:]))
except Exception as error:
    print(type(error).__name__, error)
"""
    with Study.open(path, QUESTION) as study:
        study.add(ONE, Block(0), outcome(1, 0))
        for overwrite in ([], ["overwrite"]):
            said = subprocess.run([sys.executable, "-c", code, *overwrite], capture_output=True, text=True, check=True)
            told = f"CkptError {path}: another search writes this study; wait for it, or choose another output\n"
            assert (said.stdout, said.stderr) == (told, "")
        study.add(ONE, Block(1), outcome(1, 0))


# ---- killed at any time ----

KILLED = """
import os, random, signal, sys, time
from pathlib import Path
import numpy as np
from ckpttool.searching.configurations import Block, Configuration, Outcome
from ckpttool.searching.study import Study
from ckpttool.searching.study_file import checksum

def correct(keep, fold):
    return np.random.default_rng((keep, fold)).integers(0, 2, 3000) * 1.0

def search(path):
    with Study.open(path, {"head": "dense"}) as study:
        for keep in range(8):
            for fold in range(25):
                if Block(0, fold) not in study.outcomes.get(Configuration(keep, 0), {}):
                    found = Outcome(correct(keep, fold), rows=np.arange(3000))
                    study.add(Configuration(keep, 0), Block(0, fold), found)

path, seed = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
kills = 0
while True:
    child = os.fork()
    if not child:
        search(path)
        os._exit(0)
    time.sleep(seed.random() * 0.03)
    if kills < 25:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    kills += os.WIFSIGNALED(status)
    if os.WIFEXITED(status):
        assert os.WEXITSTATUS(status) == 0
        break
print(kills)
with Study.open(path, {"head": "dense"}) as study:
    found = {(c.keep, b.fold): o.correct for c, all in study.outcomes.items() for b, o in all.items()}
assert sorted(found) == [(keep, fold) for keep in range(8) for fold in range(25)]
assert all(np.array_equal(scores, correct(*key)) for key, scores in found.items())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forks")
def test_killed_at_any_time_the_same_search_goes_on_with_nothing_twice_and_nothing_half(path: Path) -> None:
    """A separate process forks searches and kills them after 0 to 30 ms: opening, writing or between."""
    seed = str(random.randrange(1000))
    said = subprocess.run([sys.executable, "-c", KILLED, str(path), seed], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, ""), f"seed {seed}"
    assert int(said.stdout) >= 5


def test_the_rows_of_a_block_have_a_checksum_too(path: Path) -> None:
    write(path, (ONE, Block(3, 1), outcome(1, 0, rows=np.array([4, 7]))))
    with sqlite3.connect(path) as database:
        database.execute("UPDATE blocks SET rows = ?", (np.array([4, 8]).tobytes(),))
    database.close()
    with pytest.raises(CorruptCheckpoint, match="the checksum of the rows of seed 3, fold 1 does not hold"):
        Study.open(path, QUESTION)


def test_overwrite_begins_anew_and_leaves_no_trial(path: Path) -> None:
    write(path, (ONE, Block(0, 0), outcome(1, 0, rows=np.array([4, 7]))))
    other = {**QUESTION, "epochs": 3}
    for _ in range(2):
        with Study.open(path, other, overwrite=True) as study:
            assert study.outcomes == {}
            study.add(ONE, Block(0, 0), outcome(1, 1, rows=np.array([5, 7])))
    with Study.open(path, other) as study:
        assert [trial["valid_accuracy"] for trial in study.trials()] == [1.0]


def test_trials_without_a_question_are_not_taken_for_those_of_any(path: Path) -> None:
    write(path, (ONE, Block(0, 0), outcome(1, 0)))
    with sqlite3.connect(path) as database:
        database.execute("DELETE FROM question")
    database.close()
    with pytest.raises(PlanError, match="it is of a search with other options: model was not given"):
        Study.open(path, QUESTION)


def test_a_mean_is_of_all_blocks_that_are_done(path: Path) -> None:
    blocks = [Block(0, 0), Block(0, 1)]
    with Study.open(path, QUESTION) as study:
        study.add(ONE, blocks[0], outcome(1, 0))
        assert study.mean(ONE, blocks) is None
        study.add(ONE, blocks[1], outcome(1, 1))
        assert (study.mean(ONE, blocks), study.mean(SCRATCH, blocks)) == (0.75, None)
        study.add(SCRATCH, blocks[0], outcome(state="failed", reason="the loss is NaN"))
        assert study.mean(SCRATCH, blocks) == -np.inf


def test_scores_of_0_and_1_alone_take_a_byte_each(path: Path) -> None:
    write(path, (ONE, Block(0, 0), outcome(0, 1, 0)), (ONE, Block(0, 1), outcome(0, 0.5, 1)))
    with sqlite3.connect(path) as database:
        assert [len(blob) for (blob,) in database.execute("SELECT correct FROM trials ORDER BY fold")] == [3, 24]
    database.close()


@pytest.mark.parametrize("end", ["", "-wal", "-journal"])
def test_a_link_in_the_place_of_a_study_is_not_followed_and_overwriting_replaces_it(
    path: Path, tmp_path: Path, end: str
) -> None:
    elsewhere = tmp_path / "elsewhere.study"
    link = path.with_name(f"{path.name}{end}")
    for leads_to in ("nothing", "a study"):
        if leads_to == "a study":
            write(elsewhere, (ONE, Block(0), outcome(1)))
        before = elsewhere.read_bytes() if elsewhere.exists() else None
        link.symlink_to(elsewhere)
        with pytest.raises(FormatError, match=f"{link.name} is a symbolic link, which is not followed"):
            write(path)
        with Study.open(path, QUESTION, overwrite=True) as study:
            study.add(ONE, Block(1), outcome(0))
        assert not path.is_symlink()
        assert (elsewhere.read_bytes() if elsewhere.exists() else None) == before
        path.unlink()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("seed", "x"),
        ("seed", None),
        ("fold", -2),
        ("fold", 1.5),
        ("keep", float("inf")),
        ("seconds", "soon"),
        ("epochs", -1),
        ("state", "good"),
        ("correct", b"\2\1\1"),
        ("correct", b""),
    ],
)
def test_values_of_other_kinds_are_damage_whatever_the_checksum_says(path: Path, column: str, value: object) -> None:
    write(path, (ONE, Block(0, 1), outcome(1, 0, 1, seconds=2.5, epochs=7)), (ONE, Block(0, 2), outcome(1, 1, 1)))
    with sqlite3.connect(path) as database:
        database.row_factory = sqlite3.Row
        facts = {**dict(database.execute("SELECT * FROM trials WHERE fold = 1").fetchone()), column: value}
        names = "keep", "freeze", "seed", "fold", "state", "seconds", "epochs", "reason", "judged"
        told = [facts[name] for name in names]
        facts["checksum"] = checksum(told, facts["correct"])
        facts["accuracy"] = float(np.frombuffer(facts["correct"], "u1").mean()) if facts["correct"] else None
        database.execute("DELETE FROM trials WHERE fold = 1")
        database.execute(f"INSERT INTO trials VALUES ({', '.join('?' * len(facts))})", [*facts.values()])
    database.close()
    with pytest.raises(FormatError, match=r"out\.study: .*damaged|keep inf"):
        Study.open(path, QUESTION)


@pytest.mark.parametrize(
    ("depths", "epochs", "blocks", "says"),
    [
        (1, 7, {Block(0, 1): [5, 2, 9]}, "keep 2, freeze 1, seed 0, fold 1: 7 epochs, no trial of this search"),
        (2, 6, {Block(0, 1): [5, 2, 9]}, "no trial of this search"),
        (2, 7, {Block(0, 2): [5, 2, 9]}, "no trial of this search"),
        (2, 7, {Block(0, 1): [5, 2, 8]}, "it judged other rows than this search"),
        (2, 7, {Block(0, 1): [5, 2]}, "it judged other rows than this search"),
    ],
)
def test_trials_of_another_search(
    path: Path, depths: int, epochs: int, blocks: dict[Block, list[int]], says: str
) -> None:
    write(path, (ONE, Block(0, 1), outcome(1, 0, 1, epochs=7, rows=np.array([5, 2, 9]))))
    with Study.open(path, QUESTION) as study:
        study.require_of({Block(0, 1): np.array([5, 2, 9])}, 2, 7)
        with pytest.raises(CorruptCheckpoint, match=says):
            study.require_of({block: np.array(rows) for block, rows in blocks.items()}, depths, epochs)
