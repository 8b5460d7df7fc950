"""The Hub's library for commands: without warnings, with retries, and with one-line errors that contain no secrets."""

import contextlib
import logging
import os
import re
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
"""The maximum wait in seconds that is accepted after too many requests, and the maximum number of attempts."""
_T = TypeVar("_T")


def library() -> Any:
    """Return the library, with signatures removed from URLs in its warnings, and progress bars on terminals only."""
    import huggingface_hub
    import huggingface_hub.constants  # these attributes are created on first access
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
    """Return the library's client for the Hub that the environment currently specifies."""
    return library().HfApi(endpoint=os.environ.get("HF_ENDPOINT"), library_name="ckpttool")


@contextlib.contextmanager
def plain_marks(where: str) -> Iterator[None]:
    """Refuse ETags and commits that are no hashes: the library uses them as file names in its cache, also `../x`.

    Raises:
        CorruptCheckpoint: the server sends such a one.
    """
    from huggingface_hub import file_download

    asked = file_download.get_hf_file_metadata

    def checked(*arguments: Any, **options: Any) -> Any:
        found = asked(*arguments, **options)
        for mark in (found.etag, found.commit_hash):
            if mark is not None and not re.fullmatch(r"[0-9A-Za-z-]{1,128}", mark):
                raise CorruptCheckpoint(f"{where}: the server's ETag or commit is not a hash ({visible(mark)[:100]})")
        return found

    file_download.get_hf_file_metadata = checked
    try:
        yield
    finally:
        file_download.get_hf_file_metadata = asked


def counting(where: str, size: int) -> Any:
    """Return a progress bar class for the library that aborts a download with more bytes than listed."""

    class Counting(library().utils.tqdm):  # type: ignore[misc]
        came: float = 0

        def update(self, n: float | None = 1) -> Any:
            self.came += n or 0
            if self.came > size:
                raise CorruptCheckpoint(f"{where}: the server sends more than the {size} bytes that the hub lists")
            return super().update(n)

    return Counting


def patiently(ask: Callable[[], _T]) -> _T:
    """Call a function, and retry after the requested time if the Hub reports too many requests."""
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
    """Return the seconds that the Hub asks to wait, or None."""
    return server_errors.waiting(error.response.status_code, error.response.headers)


@contextlib.contextmanager
def one_line(where: object) -> Iterator[None]:
    """Convert the library's exceptions into one-line errors without tokens or signed URLs.

    Raises:
        CkptError: the library failed.
        MissingDependency: the library is missing.
    """
    try:
        yield
    except CkptError:
        raise
    except ImportError as error:
        raise MissingDependency(f"{where}: reading hf:// needs a package: pip install 'ckpttool[hub]'") from error
    except Exception as error:  # the library raises exceptions of its own, its HTTP client, and the system
        raise _said(where, error) from error


def _said(where: object, raised: Exception) -> CkptError:
    """Return the message for an error: the Hub's answer, or else the cause that the library reports."""
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
    """Return a text without the user's token, in plain form or as Python's representation of bytes."""
    token: str | None = library().get_token()
    for spelled in (token, repr(token.encode())[2:-1]) if token else ():
        text = text.replace(spelled, "TOKEN")
    return text
