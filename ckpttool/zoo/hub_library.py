"""The library of the hub, as commands use it: quiet, patient, and with errors of one line that have no secrets."""

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, CorruptCheckpoint, MissingDependency, MissingFile
from ckpttool.core.shown_text import visible
from ckpttool.remote import server_errors
from ckpttool.remote.paths import without_secrets

LONGEST_WAIT, MOST_TRIES = 60, 5
"""Seconds that a hub may ask to wait after too many requests, and how often it is asked."""
_T = TypeVar("_T")


def library() -> Any:
    """Return the library; its warnings have no signatures in their URLs, and its bars are drawn on terminals only."""
    import huggingface_hub
    import huggingface_hub.constants  # none of the three is there before it is asked for
    import huggingface_hub.errors
    import huggingface_hub.utils

    for handler in logging.getLogger(huggingface_hub.__name__).handlers:
        handler.addFilter(_without_secrets)
    if huggingface_hub.constants.HF_HUB_DISABLE_PROGRESS_BARS is None and not sys.stderr.isatty():
        huggingface_hub.utils.disable_progress_bars()
    return huggingface_hub


def _without_secrets(record: logging.LogRecord) -> bool:
    record.msg, record.args = without_secrets(record.getMessage()), ()
    return True


def api() -> Any:
    """Return the library's client, of the hub that the environment names now."""
    return library().HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="ckpttool")


def counting(where: str, size: int) -> Any:
    """Return what the library reports its progress to, which ends a download that has more bytes than are listed."""

    class Counting(library().utils.tqdm):  # type: ignore[misc]
        came: float = 0

        def update(self, n: float | None = 1) -> Any:
            self.came += n or 0
            if self.came > size:
                raise CorruptCheckpoint(f"{where}: the server sends more than the {size} bytes that the hub lists")
            return super().update(n)

    return Counting


def patiently(ask: Callable[[], _T]) -> _T:
    """Ask again after the time that a hub asks for, if it has had too many requests."""
    for _ in range(MOST_TRIES - 1):
        try:
            return ask()
        except library().errors.HfHubHTTPError as error:
            wait = _waiting(error)
            if wait is None or wait > LONGEST_WAIT:
                raise
            time.sleep(wait)
    return ask()


def _waiting(error: Any) -> int | None:
    """Return how many seconds a hub asks to wait, if it does."""
    return server_errors.waiting(error.response.status_code, error.response.headers)


@contextlib.contextmanager
def one_line(where: object) -> Iterator[None]:
    """Turn what the library raises into an error of one line, in which neither a token nor a signed URL is.

    Raises:
        CkptError: something went wrong.
        MissingDependency: the library is missing.
    """
    try:
        yield
    except CkptError:
        raise
    except ImportError as error:
        raise MissingDependency(f"{where}: reading hf:// needs a package: pip install 'ckpttool[hub]'") from error
    except Exception as error:  # the library raises those of its HTTP client, of the system, and its own
        raise _said(where, error) from error


def _said(where: object, raised: Exception) -> CkptError:
    """Return an error as it is shown: what the hub answers, else what the library says was the cause."""
    errors, causes = library().errors, [raised]
    while isinstance(cause := causes[-1].__cause__, Exception):
        causes.append(cause)
    error = next((each for each in causes if isinstance(each, errors.HfHubHTTPError)), causes[-1])
    if isinstance(error, errors.GatedRepoError):
        return CkptError(f"{where}: accept its terms on its page, and log in with `hf auth login`")
    if isinstance(error, errors.RevisionNotFoundError):
        return MissingFile(f"{where}: the repository has no such revision")
    if isinstance(error, errors.RepositoryNotFoundError):
        return MissingFile(f"{where} is missing: the hub has no such model, or you have no access (`hf auth login`)")
    if isinstance(error, errors.HfHubHTTPError) and error.response is not None:
        status, wait = error.response.status_code, _waiting(error)
        if status in (401, 403):
            return CkptError(
                f"{where}: the hub refuses access ({status}): check that the token of `hf auth login` allows it"
            )
        later = f": try again in {counted(wait, 'second')}" if wait is not None else ""
        return CkptError(f"{where}: the hub answers {status} {error.response.reason_phrase}{later}")
    text = without_secrets(visible(" ".join(_without_token(str(error)).split())))
    return CkptError(f"{where}: {text[: server_errors.LONGEST_REASON] or type(error).__name__}")


def _without_token(text: str) -> str:
    """Return a text in which the user's token is not, as it is or as Python spells its bytes; most users have none."""
    token: str | None = library().get_token()
    for spelled in (token, repr(token.encode())[2:-1]) if token else ():
        text = text.replace(spelled, "TOKEN")
    return text
