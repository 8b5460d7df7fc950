"""Errors of servers as one-line messages: the answer, the remedy, and no secrets of the URL."""

import contextlib
import re
from collections.abc import Iterator, Mapping

from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, MissingDependency
from ckpttool.core.shown_text import visible
from ckpttool.remote.paths import without_secrets

PACKAGES = {
    "http": "fsspec[http]",
    "https": "fsspec[http]",
    "s3": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "hf": "huggingface_hub",
}
"""The packages that fsspec requires, by scheme."""
DENIED = (401, 403, 405, 451)
"""HTTP status codes of refusals; an answer that violates the protocol counts as 400."""
BUSY = (429, 503)
"""HTTP status codes whose answers may have a Retry-After header."""
SECONDS: float = 60
"""The timeout in seconds for a silent web server."""
LONGEST_REASON = 300
"""The maximum length in characters of an error text from a server or its library."""
_LEAST = "the server sends whole files only"


@contextlib.contextmanager
def one_line_errors(url: str) -> Iterator[None]:
    """Convert any error of a server into one line.

    Raises:
        CkptError: the server failed.
        MissingDependency: a package is missing.
    """
    bare = without_secrets(url)
    try:
        yield
    except CkptError:
        raise
    except ImportError as error:
        scheme = scheme_of(url)
        package = "ckpttool[remote]" if str(error.name).startswith("fsspec") else PACKAGES.get(scheme, error.name)
        raise MissingDependency(f"{bare}: reading {scheme}:// needs a package: pip install '{package}'") from error
    except Exception as error:  # every backend of fsspec has its own exception classes
        raise CkptError(f"{bare}: {without_secrets(_reason(error))}") from error


def waiting(status: int, headers: Mapping[str, str]) -> int | None:
    """Return the Retry-After seconds of an answer that reports too many requests, else None."""
    text = headers.get("Retry-After", "")
    return int(text) if status in BUSY and re.fullmatch(r"\d{1,6}", text, re.ASCII) else None


def is_refusal(error: CkptError) -> bool:
    """Return whether a server's answer was that a file may not be read, rather than that it could not answer."""
    cause = error.__cause__
    return getattr(cause, "status", None) in DENIED or isinstance(cause, PermissionError)


def _reason(error: Exception) -> str:
    if "range requests" in str(error):
        return f"{_LEAST}, and this one is large: download it, and give its path"
    if isinstance(error, TimeoutError):
        return f"the server did not answer within {SECONDS} seconds"
    status, message, said = getattr(error, "status", None), getattr(error, "message", ""), _shown(str(error))
    if isinstance(error, PermissionError) or status in (401, 403):
        return (
            f"the server refuses access ({status or said}): check that credentials are set, and that they allow "
            "reading it"
        )
    if "credentials" in str(error):
        return f"{said}: set the service's credentials, or FSSPEC_S3_ANON=true for a public bucket"
    wait = waiting(status, getattr(error, "headers", None) or {}) if status in BUSY else None
    later = f": try again in {counted(wait, 'second')}" if wait is not None else ""
    return (_shown(f"the server answers {status} {message}{later}") if status else said) or type(error).__name__


def _shown(text: str) -> str:
    """Return the start of a server's text in one line."""
    return visible(" ".join(text.split()))[:LONGEST_REASON]


def scheme_of(url: str) -> str:
    """Return the scheme of a URL: `s3` of `s3://bucket/model`."""
    return url.partition(":")[0]
