"""Metadata for the package index: the project's address, and a README with links to it.

The address is given when the package is built, `make dist REPOSITORY=https://...`; without one there is no address, and
links of the README to files of the repository stay unchanged. Commands and Python are the same in both.
"""

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

LINK = re.compile(r"(!?\[(?:[^\]\[]|\[[^\]]*\])*\]\()(?![a-z]+:|#)([^)\s]+)(\))")
"""A Markdown link or picture whose target is a file of the repository."""


class Address(MetadataHookInterface):
    """Sets the project's addresses and its README."""

    PLUGIN_NAME = "custom"

    def update(self, metadata: dict[str, Any]) -> None:
        """Add the metadata that pyproject.toml declares dynamic."""
        repository = os.environ.get("CKPTTOOL_REPOSITORY", "").rstrip("/")
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": absolute(text, repository)}
        metadata["urls"] = addresses(repository)


def addresses(repository: str) -> dict[str, str]:
    """Return the project's addresses by their labels on indexes; none without a repository."""
    if not repository:
        return {}
    file = f"{repository}/blob/main"
    return {
        "Source": repository,
        "Documentation": os.environ.get("CKPTTOOL_SITE") or f"{file}/docs/index.md",
        "Changelog": f"{file}/CHANGELOG.md",
        "Issues": f"{repository}/issues",
        "Security": f"{file}/SECURITY.md",
    }


def absolute(markdown: str, repository: str) -> str:
    """Return a page whose links to files of the repository are absolute; pictures are linked as files, not pages."""
    if not repository:
        return markdown

    def address(found: re.Match[str]) -> str:
        before, target, after = found.groups()
        return f"{before}{repository}/{'raw' if before.startswith('!') else 'blob'}/main/{target}{after}"

    return LINK.sub(address, markdown)
