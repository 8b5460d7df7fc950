"""ckpttool's errors are complete when they come from another process."""

from multiprocessing.reduction import ForkingPickler

import pytest

from ckpttool.core import errors
from ckpttool.core.calls import WrongValue
from ckpttool.core.errors import CkptError, Interrupted, MissingFile, PlanError, UnknownName, telling


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


def test_a_message_names_what_a_temporary_path_stands_for(monkeypatch):
    monkeypatch.setattr(errors, "TOLD", [lambda text: text.replace("/tmp/urls/https/", "https://")])
    for kind in (CkptError, MissingFile, UnknownName):
        error = kind("/tmp/urls/https/host/x is missing")
        assert (str(error), str(sent(error))) == ("https://host/x is missing",) * 2
    sent_on = sent(error)
    monkeypatch.setattr(errors, "TOLD", [])  # in another process, nobody knows the path
    assert str(sent_on) == "https://host/x is missing"


def test_errors_that_leave_a_block_name_what_was_asked_for():
    for kind in (CkptError, MissingFile, UnknownName):
        with (
            pytest.raises(kind, match=r"^https://host/x\.zip#model\.h5 is damaged$"),
            telling(("/tmp/x/", "https://host/x.zip#")),
        ):
            raise kind("/tmp/x/model.h5 is damaged")
    with pytest.raises(OSError, match="/tmp/x/"), telling(("/tmp/x/", "here")):
        raise OSError(5, "I/O error", "/tmp/x/model.h5")
