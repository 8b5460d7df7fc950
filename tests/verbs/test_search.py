"""Search: trials, recommendations, messages and output; a search that was ended resumes as if uninterrupted."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ckpttool
from ckpttool.core.errors import CkptError, PlanError, UnknownName
from ckpttool.executors.processes import processes
from ckpttool.model.model import Model
from ckpttool.runtime.recipe import Recipe
from ckpttool.searching.configurations import SCRATCH, Block, Configuration, Outcome
from ckpttool.searching.loop import Budget, SearchCallback
from ckpttool.training.interrupt import Interrupt
from ckpttool.training.options import Options
from ckpttool.verbs.new import plan_new
from ckpttool.verbs.search import SearchOptions, search_curve, search_reuse

HOW = SearchOptions(seeds=1, folds=2, rope=0.3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a network of two layers, and 120 rows of two classes with 60 to test on."""
    folder = tmp_path_factory.mktemp("search")
    rows = np.random.default_rng(0).normal(size=(180, 6)).astype(np.float32)
    labels = (rows[:, 0] + rows[:, 1] > 0).astype(np.int64)
    np.savez(folder / "rows.npz", x_train=rows[:120], y_train=labels[:120], x_test=rows[120:], y_test=labels[120:])
    plan_new([6], "one = dense(8, relu); two = dense(4, relu); outputs = dense(3)").write(folder / "net.ckpt")
    return folder


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return Options(recipe=Recipe("adam(0.02)"), epochs=6, batch_size=10, cache_dir=tmp_path / "cache")


class Trials(SearchCallback):
    """Stores trials, and may end the search after some."""

    def __init__(self, interrupt: Interrupt | None = None, after: int = 0) -> None:
        self.done: list[tuple[Configuration, Block]] = []
        self.given_up: list[Configuration] = []
        self._interrupt, self._after = interrupt, after

    def on_trial(self, configuration: Configuration, block: Block, outcome: Outcome) -> None:
        self.done.append((configuration, block))
        if self._interrupt and len(self.done) == self._after:
            self._interrupt.request()

    def on_stopped(self, configuration: Configuration, reason: str) -> None:
        self.given_up.append(configuration)


def search(folder: Path, output: Path, options: Options, how: SearchOptions = HOW, **more: Any) -> Any:
    return search_reuse(
        Model.open(folder / "net.ckpt"), folder / "rows.npz", "new = dense(2)", output, options=options, how=how, **more
    )


def test_what_is_recommended_is_told_by_other_rows_and_written(folder: Path, tmp_path: Path, options: Options) -> None:
    trials = Trials()
    found = search(folder, tmp_path / "best.ckpt", options, replace(HOW, keep="1"), callback=trials)
    assert found.ended is None
    assert SCRATCH in found.outcomes
    assert {len(outcomes) for one, outcomes in found.outcomes.items() if one not in trials.given_up} <= {2, 3}
    chosen = found.recommendation.configuration
    facts = found.as_json()
    assert (facts["recommended"]["keep"], facts["recommended"]["freeze"]) == (chosen.keep, chosen.freeze)
    assert facts["held_out"] == {"accuracy": found.held_out.accuracy, "rows": 60}
    assert {(each["seed"], each["fold"]) for each in facts["trials"]} == {(0, 0), (0, 1)}
    score = ckpttool.evaluate(Model.open(tmp_path / "best.ckpt"), folder / "rows.npz")
    assert (score.rows, score.accuracy) == (60, found.held_out.accuracy), "it is told of the file's own test rows"
    assert found.held_out.accuracy > 0.8
    augmented = replace(found, options=replace(found.options, augment="flip()"))
    assert (found.is_cached(chosen), augmented.is_cached(chosen)) == (True, False)
    assert f"the written model has an accuracy of {score.accuracy:.4f}" in found.lines()[-1]


def test_rows_are_set_apart_to_tell_the_result_where_the_file_has_none_to_test(
    folder: Path, tmp_path: Path, options: Options
) -> None:
    with np.load(folder / "rows.npz") as arrays:
        np.savez(tmp_path / "rows.npz", x_train=arrays["x_train"], y_train=arrays["y_train"])
    how, model = SearchOptions(seeds=1, folds=2, rope=1.0, keep="1", freeze="0"), Model.open(folder / "net.ckpt")
    found = search_reuse(
        model, tmp_path / "rows.npz", "new = dense(2)", tmp_path / "best.ckpt", options=options, how=how
    )
    assert (found.held_out.rows, found.rows.choosing.rows) == (24, 96)
    assert found.lines()[-1].startswith("the model trained on the selection data has an accuracy of")


def test_a_configuration_that_has_not_what_is_asked_for_fails_and_the_others_go_on(
    folder: Path, tmp_path: Path, options: Options
) -> None:
    rates = replace(options, recipe=Recipe("adam", lr="two=0.001, .*=0.02"))
    found = search(folder, tmp_path / "best.ckpt", rates, SearchOptions(seeds=1, folds=2, freeze="0"), write=False)
    states = {one: {outcome.state for outcome in blocks.values()} for one, blocks in found.outcomes.items()}
    assert states[Configuration(1, 0)] == {"failed"}
    assert "done" in states[Configuration(2, 0)]
    with pytest.raises(UnknownName, match="pattern 'three' matches nothing"):
        search(folder, tmp_path / "none.ckpt", replace(options, recipe=Recipe("adam", lr="three=0.001, .*=0.02")))


def test_a_search_that_was_interrupted_goes_on_to_the_same(folder: Path, tmp_path: Path, options: Options) -> None:
    whole, interrupt = Trials(), Interrupt()
    how = replace(HOW, keep="1")
    expected = search(folder, tmp_path / "whole.ckpt", options, how, callback=whole).as_json()
    first, second = Trials(interrupt, after=3), Trials()
    ended = search(folder, tmp_path / "best.ckpt", options, how, callback=first, interrupt=interrupt)
    assert (ended.ended, len(first.done)) == ("interrupted", 3)
    assert not (tmp_path / "best.ckpt.meta").exists()
    found = search(folder, tmp_path / "best.ckpt", options, how, callback=second).as_json()
    assert not set(first.done) & set(second.done), "nothing is run twice"
    assert sorted(first.done + second.done) == sorted(whole.done)
    assert found["recommended"] == expected["recommended"]
    assert [each["valid_accuracy"] for each in found["trials"]] == [
        each["valid_accuracy"] for each in expected["trials"]
    ]


def test_another_question_is_refused_and_replaced_where_that_may_be(
    folder: Path, tmp_path: Path, options: Options
) -> None:
    few = SearchOptions(seeds=1, folds=2, budget=Budget(trials=1))
    assert search(folder, tmp_path / "best.ckpt", options, few).ended == "its 1 trial is done"
    with pytest.raises(PlanError, match=r"it is of a search with other options: .*folds was 2, is 3"):
        search(folder, tmp_path / "best.ckpt", options, SearchOptions(seeds=1, folds=3))
    other = SearchOptions(seeds=1, folds=3, keep="1", freeze="1")
    assert set(search(folder, tmp_path / "best.ckpt", options, other, overwrite=True).outcomes) == {
        SCRATCH,
        Configuration(1, 1),
    }


def test_what_stops_the_last_run_is_found_before_the_first_trial(
    folder: Path, tmp_path: Path, options: Options
) -> None:
    (tmp_path / "best.ckpt.run.json").write_text("{}")
    with pytest.raises(CkptError, match=r"best.ckpt.run.json exists"):
        search(folder, tmp_path / "best.ckpt", options)
    with pytest.raises(PlanError, match=r"`threads` 63: call `configure_tensorflow"):
        search(folder, tmp_path / "other.ckpt", replace(options, threads=63))
    with pytest.raises(PlanError, match=r"`keep` '7': there is no depth 7"):
        search(folder, tmp_path / "other.ckpt", options, SearchOptions(keep="7"))
    assert not list(tmp_path.glob("*.study"))


@pytest.mark.slow
def test_workers_find_the_same(folder: Path, tmp_path: Path, options: Options) -> None:
    how = SearchOptions(seeds=1, folds=2, keep="1")
    here = search(folder, tmp_path / "here.ckpt", options, how).as_json()
    with processes(2) as executor:
        there = search(folder, tmp_path / "there.ckpt", options, how, executor=executor).as_json()
    assert [each["valid_accuracy"] for each in there["trials"]] == [each["valid_accuracy"] for each in here["trials"]]
    assert there["recommended"] == here["recommended"]


@pytest.mark.parametrize("given", [{"soup": True}, pytest.param({"interpolate": True}, marks=pytest.mark.slow)])
def test_a_mean_is_written_where_it_is_asked_for(
    folder: Path, tmp_path: Path, options: Options, given: dict[str, bool]
) -> None:
    how = SearchOptions(seeds=1, folds=2, rope=1.0, keep="1", freeze="0", **given)
    found = search(folder, tmp_path / "best.ckpt", options, how)
    score = ckpttool.evaluate(Model.open(tmp_path / "best.ckpt"), folder / "rows.npz")
    assert found.recommendation.configuration == Configuration(1, 0)
    assert score.accuracy is not None
    assert score.accuracy > 0.8
    assert not list(tmp_path.glob(".best*")), "nothing behind"


def test_a_curve_has_a_study_for_each_number_of_rows(folder: Path, tmp_path: Path, options: Options) -> None:
    """They share one budget, of which each has a part."""
    how, model = SearchOptions(seeds=1, folds=2, keep="1", freeze="1"), Model.open(folder / "net.ckpt")
    few = replace(how, budget=Budget(trials=3))
    early = search_curve(
        model, folder / "rows.npz", "new = dense(2)", tmp_path / "few.ckpt", [40, None], options=options, how=few
    )
    assert [each.ran for each in early] == [2, 1]
    assert [path.unlink() for path in tmp_path.glob("few*")] == [None, None]
    found = search_curve(
        model, folder / "rows.npz", "new = dense(2)", tmp_path / "best.ckpt", [40, None], options=options, how=how
    )
    assert [each.on_curve()["rows"] for each in found] == [40, 120]
    assert sorted(path.name for path in tmp_path.glob("*.study")) == ["best.ckpt.40.study", "best.ckpt.study"]
    assert (tmp_path / "best.ckpt.meta").exists()
