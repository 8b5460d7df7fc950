"""The mirror of a search in Optuna: Optuna reads the study's trials, once, whenever the search was ended."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest

from ckpttool.core.errors import CkptError, MissingDependency
from ckpttool.searching.configurations import SCRATCH, Configuration, Design, Outcome
from ckpttool.searching.loop import SearchCallback
from ckpttool.searching.rows import FINAL
from ckpttool.searching.trackers import Following, Tracked, open_tracker

BLOCKS = Design.of(labelled=40, seeds=1, folds=2).blocks
SEARCH = Tracked("best.ckpt", {"head": "new = dense(2)"}, depths=2, blocks=BLOCKS)
RIGHT, HALF = Outcome(np.ones(4), seconds=1.5), Outcome(np.array([1.0, 0, 1, 0]), seconds=0.5)
FROZEN, TRAINED = Configuration(2, 2), Configuration(2, 0)
WHOLE = {
    SCRATCH: {BLOCKS[0]: RIGHT, BLOCKS[1]: HALF, FINAL: HALF},
    FROZEN: {BLOCKS[0]: HALF, BLOCKS[1]: Outcome(state="stopped", reason="12 worse and 0 better")},
    TRAINED: {BLOCKS[0]: Outcome(state="failed", reason="the loss is not finite in epoch 1")},
}


@pytest.fixture
def output(tmp_path: Path) -> Iterator[Path]:
    """An output whose path has characters with a meaning in URLs."""
    (tmp_path / "a b%20?c").mkdir()
    yield tmp_path / "a b%20?c" / "best.ckpt"
    optuna.logging.set_verbosity(optuna.logging.INFO)


def mirrored(output: Path, known: Any, search: Tracked = SEARCH) -> None:
    with open_tracker("optuna", output) as mirror:
        mirror.begin(search, known)


def read(output: Path) -> Any:
    """Return the content of the file as read by Optuna itself."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    copy = shutil.copy(f"{output}.optuna.db", output.parents[1] / "copy.db")
    storage = optuna.storages.RDBStorage(f"sqlite:///{copy}")
    trials = optuna.load_study(study_name="best.ckpt", storage=storage).trials
    storage.engine.dispose()
    return trials


def test_a_configuration_is_a_trial_with_the_means_after_each_block(output: Path) -> None:
    mirrored(output, WHOLE)
    scratch, frozen, trained = read(output)
    assert [trial.state.name for trial in (scratch, frozen, trained)] == ["COMPLETE", "PRUNED", "FAIL"]
    assert (scratch.params, frozen.params) == ({"keep": 0, "freeze": 0}, {"keep": 2, "freeze": 2})
    assert (scratch.intermediate_values, scratch.value) == ({1: 1.0, 2: 0.75}, 0.75)
    assert (frozen.intermediate_values, frozen.value) == ({1: 0.5}, 0.5)
    assert (frozen.user_attrs["reason"], scratch.user_attrs["seconds"]) == ("12 worse and 0 better", 2.0)


def test_a_search_that_goes_on_has_nothing_twice(output: Path) -> None:
    begun = {SCRATCH: {BLOCKS[0]: RIGHT}, FROZEN: {BLOCKS[0]: HALF}}
    mirrored(output, begun)
    assert [trial.state.name for trial in read(output)] == ["RUNNING", "RUNNING"]
    mirrored(output, begun)
    mirrored(output, WHOLE)
    mirrored(output, WHOLE)
    assert [(trial.state.name, len(trial.intermediate_values)) for trial in read(output)] == [
        ("COMPLETE", 2),
        ("PRUNED", 1),
        ("FAIL", 0),
    ]


def test_a_study_of_another_question_or_with_more_than_is_known_begins_anew(output: Path) -> None:
    mirrored(output, WHOLE)
    mirrored(output, {SCRATCH: {BLOCKS[0]: HALF}})
    assert [trial.intermediate_values for trial in read(output)] == [{1: 0.5}]
    mirrored(output, {}, Tracked("best.ckpt", {"head": "new = dense(3)"}, 2, BLOCKS))
    assert read(output) == []


def test_others_settings_of_optuna_stay_and_it_says_nothing(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = optuna.logging.get_verbosity()
    mirrored(output, WHOLE)
    assert optuna.logging.get_verbosity() == before
    assert capsys.readouterr().err == ""


def test_a_search_goes_on_without_a_tracker_that_cannot_be_written(output: Path) -> None:
    said: list[str] = []

    class Noted(SearchCallback):
        def on_notes(self, notes: Any) -> None:
            said.extend(notes)

    with open_tracker("optuna", output) as mirror:
        following = Following(mirror, SEARCH, WHOLE, Noted())
        mirror.follow = lambda *_: (_ for _ in ()).throw(CkptError("best.ckpt.optuna.db: locked"))  # type: ignore[method-assign]
        for _ in range(2):
            following.on_trial(SCRATCH, BLOCKS[0], RIGHT)
    assert said == ["best.ckpt.optuna.db: locked; the search continues without its tracker"]


def test_what_is_wrong_is_one_line(output: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(f"{output}.optuna.db").write_bytes(b"no database" * 100)
    with pytest.raises(CkptError, match=r"best\.ckpt\.optuna\.db: .*file is not a database$"):
        open_tracker("optuna", output)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingDependency, match=r"pip install 'ckpttool\[optuna\]'"):
        open_tracker("optuna", output)
