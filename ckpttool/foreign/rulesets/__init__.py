"""Ready sets of rules for families of networks: files of [[rule]] tables, taken by their names."""

from pathlib import Path

FILES = {path.stem: path for path in sorted(Path(__file__).parent.glob("*.toml"))}
"""The file of each ready set, by its name."""


def description(name: str) -> str:
    """Return what a ready set is for: the first line of its file, a comment."""
    return FILES[name].read_text("utf-8").partition("\n")[0].removeprefix("# ")
