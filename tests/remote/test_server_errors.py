"""Errors of servers: one line with the answer and the remedy, and no secret of the URL."""

import pytest

from ckpttool.core.errors import CkptError, CorruptCheckpoint, MissingDependency
from ckpttool.remote import server_errors
from ckpttool.remote.server_errors import is_refusal, one_line_errors, waiting

SHOWN = "https://host/x.npz"
URL = "https://me:key@host/x.npz?signature=secret"


class Answer(Exception):
    """An error with the status of a server's answer."""

    def __init__(self, status: int, message: str = "", headers: dict[str, str] | None = None) -> None:
        super().__init__(f"status {status}")
        self.status, self.message, self.headers = status, message, headers


def said(error: Exception, url: str = URL) -> str:
    with pytest.raises(CkptError) as caught, one_line_errors(url):
        raise error
    return str(caught.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Answer(500, "Internal Error"), f"{SHOWN}: the server answers 500 Internal Error"),
        (Answer(500, "of\n several\tlines"), f"{SHOWN}: the server answers 500 of several lines"),
        (Answer(429, "Slow"), f"{SHOWN}: the server answers 429 Slow"),
        (Answer(429, "Slow", {"Retry-After": "1"}), f"{SHOWN}: the server answers 429 Slow: try again in 1 second"),
        (Answer(503, "Busy", {"Retry-After": "0"}), f"{SHOWN}: the server answers 503 Busy: try again in 0 seconds"),
        (Answer(500, "Odd", {"Retry-After": "9"}), f"{SHOWN}: the server answers 500 Odd"),
        (TimeoutError(), f"{SHOWN}: the server did not answer within {server_errors.SECONDS} seconds"),
        (ValueError(), f"{SHOWN}: ValueError"),
        (OSError("at https://host/y?key=secret now"), f"{SHOWN}: at https://host/y now"),
        (OSError("\x1b[31m"), rf"{SHOWN}: \x1b[31m"),
        (OSError("x" * 301), f"{SHOWN}: " + "x" * 300),
        (
            PermissionError("no\n\x1b[31m" + "x" * 1000),
            rf"{SHOWN}: the server refuses access (no \x1b[31m{'x' * 289}): check that credentials are set, and that "
            "they allow reading it",
        ),
    ],
)  # fmt: skip
def test_an_error_is_one_line_with_the_answer(error, words):
    assert said(error) == words


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Answer(401), "the server refuses access (401): check that credentials are set"),
        (Answer(403), "the server refuses access (403): check that credentials are set"),
        (PermissionError("Forbidden"), "the server refuses access (Forbidden): check that credentials are set"),
        (OSError("Unable to locate credentials"), "Unable to locate credentials: set the service's credentials, or FS"),
        (ValueError("it has no range requests"), "the server sends whole files only, and this one is large: "),
    ],
)  # fmt: skip
def test_an_error_has_the_remedy(error, words):
    assert words in said(error)


def test_our_own_errors_are_as_they_are():
    error = CorruptCheckpoint("x.npz is damaged")
    with pytest.raises(CorruptCheckpoint) as caught, one_line_errors(URL):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("url", "module", "package"),
    [
        ("s3://bucket/x", "s3fs", "s3fs"),
        ("https://host/x", "aiohttp", "fsspec[http]"),
        ("gs://bucket/x", "fsspec.core", "ckpttool[remote]"),
        ("abfs://bucket/x", "adlfs", "adlfs"),
    ],
)
def test_a_package_that_is_missing_is_named(url, module, package):
    with pytest.raises(MissingDependency) as caught, one_line_errors(url):
        raise ImportError("no", name=module)
    assert str(caught.value) == f"{url}: reading {url.partition(':')[0]}:// needs a package: pip install '{package}'"


@pytest.mark.parametrize(
    ("status", "text", "seconds"),
    [
        (429, "7", 7),
        (503, "999999", 999_999),
        (503, "1000000", None),
        (429, "", None),
        (429, "soon", None),
        (429, "٣", None),
        (500, "7", None),
        (200, "7", None),
    ],
)
def test_a_busy_server_says_how_long_to_wait(status, text, seconds):
    assert waiting(status, {"Retry-After": text}) == seconds
    assert waiting(status, {}) is None


@pytest.mark.parametrize(
    ("error", "refuses"),
    [(Answer(403), True), (PermissionError(), True), (Answer(503), False), (Answer(400), False), (OSError(), False)],
)
def test_a_refusal_is_none_of_the_other_errors(error, refuses):
    with pytest.raises(CkptError) as caught, one_line_errors(URL):
        raise error
    assert is_refusal(caught.value) == refuses
