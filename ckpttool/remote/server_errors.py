"""What goes wrong with a server, in one line: what it answers, what is to be done, and no secret of the URL."""

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
"""What fsspec needs for a scheme."""
BUSY = (429, 503)
"""Answers of a server that may say when it is to be asked again."""
SECONDS = 60
"""How long a web server may be silent."""
LONGEST_REASON = 300
"""Characters of what a server, or a library of it, says went wrong."""
_LEAST = "the server sends whole files only"


@contextlib.contextmanager
def one_line_errors(url: str) -> Iterator[None]:
    """Turn whatever goes wrong with a server into an error of one line.

    Raises:
        CkptError: something did.
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
    except Exception as error:  # every backend of fsspec has a family of errors of its own
        raise CkptError(f"{bare}: {without_secrets(_reason(error))}") from error


def waiting(status: int, headers: Mapping[str, str]) -> int | None:
    """Return how many seconds a server asks to wait because it has too many requests, if that is what it answers."""
    text = headers.get("Retry-After", "")
    return int(text) if status in BUSY and re.fullmatch(r"\d{1,6}", text, re.ASCII) else None


def _reason(error: Exception) -> str:
    if "range requests" in str(error):
        return f"{_LEAST}, and this one is large: download it, and give its path"
    if isinstance(error, TimeoutError):
        return f"the server did not answer within {SECONDS} seconds"
    status, message = getattr(error, "status", None), getattr(error, "message", "")
    if isinstance(error, PermissionError) or status in (401, 403):
        return (
            f"the server refuses access ({status or error}): check that credentials are set, and that they allow "
            "reading it"
        )
    if "credentials" in str(error):
        return f"{error}: set the service's credentials, or FSSPEC_S3_ANON=true for a public bucket"
    wait = waiting(status, getattr(error, "headers", None) or {}) if status in BUSY else None
    later = f": try again in {counted(wait, 'second')}" if wait is not None else ""
    text = f"the server answers {status} {message}{later}" if status else str(error)
    return visible(" ".join(text.split()))[:LONGEST_REASON] or type(error).__name__


def scheme_of(url: str) -> str:
    """Return what a URL begins with: `s3` of `s3://bucket/model`."""
    return url.partition(":")[0]
