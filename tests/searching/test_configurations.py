"""Configurations, their bounds, and the blocks on which all of them are tried."""

import numpy as np
import pytest

from ckpttool.core.errors import PlanError
from ckpttool.searching.configurations import SCRATCH, Block, Bounds, Configuration, Design, Outcome, numbers


@pytest.mark.parametrize(("keep", "freeze"), [(1, 2), (-1, -1), (2, -1)])
def test_what_no_model_can_be_is_refused(keep: int, freeze: int) -> None:
    with pytest.raises(PlanError, match=f"keep {keep}, freeze {freeze}"):
        Configuration(keep, freeze)


def test_the_grid_has_every_pair_once() -> None:
    grid = Bounds().grid(depths=5)
    assert len(grid) == len(set(grid)) == 21
    assert grid[0] == SCRATCH


def test_from_scratch_is_tried_whatever_the_bounds() -> None:
    assert Bounds.parse(5, keep="3", freeze="3").grid(5) == [SCRATCH, Configuration(3, 3)]


@pytest.mark.parametrize("text", ["1-3,5", " 5, 1 - 3", "3,2,1,5,1-2", "01-3,5"])
def test_numbers_and_ranges(text: str) -> None:
    assert numbers("keep", text, 5) == {1, 2, 3, 5}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "'' is neither"),
        ("1,,2", "'' is neither"),
        ("-1", "'-1' is neither"),
        ("1-", "'1-' is neither"),
        ("1.5", "'1.5' is neither"),
        ("all", "'all' is neither"),
        ("3-1", "the range 3-1 is empty; 1-3 is not"),
        ("2-6", "there is no depth 6; the model has 5"),
        ("9" * 9, "the model has 5"),
        ("9" * 5_000, "is neither"),
    ],
)
def test_a_text_that_means_no_numbers_is_refused_with_what_is_expected(text: str, told: str) -> None:
    with pytest.raises(PlanError, match=r"`freeze`") as error:
        numbers("freeze", text, 5)
    assert told in str(error.value)


def test_bounds_that_leave_nothing_are_refused() -> None:
    with pytest.raises(PlanError, match="`freeze` 4: only kept layers are frozen, and `keep` 1-3 ends below"):
        Bounds.parse(5, keep="1-3", freeze="4")


def test_few_labelled_rows_are_all_judged_in_folds() -> None:
    design = Design.of(labelled=1_999, validation=199, seeds=2)
    assert (design.kind, design.rows, len(design.blocks)) == ("folds", 1_999, 10)
    assert design.blocks[5] == Block(seed=1, fold=0)


def test_with_many_rows_the_validation_rows_are_judged() -> None:
    design = Design.of(labelled=2_000, validation=200, seeds=3)
    assert (design.kind, design.rows, design.blocks) == ("rows", 200, (Block(0), Block(1), Block(2)))


@pytest.mark.parametrize(("labelled", "seeds", "folds"), [(4, 1, 5), (100, 0, 5), (100, 1, 1)])
def test_a_design_needs_rows_seeds_and_folds(labelled: int, seeds: int, folds: int) -> None:
    with pytest.raises(PlanError, match="`folds`"):
        Design.of(labelled, seeds=seeds, folds=folds)


def test_only_what_was_judged_has_an_accuracy() -> None:
    assert Outcome(np.array([1.0, 0.0, 0.5, 1.0])).accuracy == 0.625
    assert Outcome(state="stopped").accuracy is None
    assert Outcome(state="failed", reason="loss is NaN").accuracy is None
