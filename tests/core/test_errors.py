"""ckpttool's errors are complete when they come from another process."""

from multiprocessing.reduction import ForkingPickler

import pytest

from ckpttool.core.calls import WrongValue
from ckpttool.core.errors import CkptError, Interrupted, MissingFile, PlanError, UnknownName


def sent(error: Exception) -> Exception:
    return ForkingPickler.loads(ForkingPickler.dumps(error))


@pytest.mark.parametrize(
    "error",
    [CkptError("a"), PlanError("b", 3), MissingFile("x.ckpt: no such file"), UnknownName("no 'w'"), CkptError()],
)
def test_kind_text_and_arguments_are_kept(error):
    found = sent(error)
    assert (type(found), str(found), found.args) == (type(error), str(error), error.args)


def test_so_is_what_an_error_knows_besides():
    assert (str(sent(Interrupted("stopped", 15))), sent(Interrupted("stopped", 15)).number) == ("stopped", 15)
    wrong = sent(WrongValue("rate", "rate must be above 0, found -1"))
    assert (str(wrong), wrong.parameter) == ("rate must be above 0, found -1", "rate")
    noted = PlanError("c")
    noted.add_note("from a worker")
    assert sent(noted).__notes__ == ["from a worker"]
