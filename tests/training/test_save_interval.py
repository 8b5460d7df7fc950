import pytest

from ckpttool.core.errors import PlanError
from ckpttool.training.run import Position
from ckpttool.training.save_interval import Every


def test_a_save_is_due_after_steps_epochs_or_minutes() -> None:
    assert [Every.parse("3 steps").is_due(Position(step=step), 0.0) for step in (2, 3, 4)] == [False, True, False]
    assert [Every.parse("2 epochs").is_due(Position(epoch), 0.0) for epoch in (1, 2, 3)] == [True, False, True]
    assert not Every.parse("2 epochs").is_due(Position(3, 1), 0.0)
    assert [Every.parse("10 min").is_due(Position(), seconds) for seconds in (599, 600)] == [False, True]


def test_only_steps_are_counted_down() -> None:
    assert [Every.parse(text).steps_left(4) for text in ("3 steps", "3 epochs", "3 min")] == [2, None, None]


@pytest.mark.parametrize("text", ["", "0 steps", "often", "5", "1.5 epochs", "-1 steps", "10 hours"])
def test_another_interval_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match="expected such as '500 steps', '1 epoch' or '10 min'"):
        Every.parse(text)
