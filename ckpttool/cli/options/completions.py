"""Shell completion: names of tensors and layers of the file on the command line, and rule sets.

Completion never fails: a file that cannot be read has no completions.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem, split_arg_string

from ckpttool.core.errors import CkptError

MODELS = ("model", "source", "checkpoint", "checkpoints", "a", "into")
"""Parameters that may name the file, the likeliest first."""
MOST = 200
"""The maximum number of completions."""
Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def _completer(names_in: Callable[[Path], Iterable[str]]) -> Completer:
    def complete(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        path = _file(ctx.params)
        if path is None:
            return []
        try:
            names = [name for name in names_in(path) if name.startswith(incomplete)]
        except (CkptError, OSError, ValueError):
            return []
        return [CompletionItem(name) for name in names[:MOST]]

    return complete


def _file(params: dict[str, Any]) -> Path | None:
    """Return the file that an incomplete command line names, or None."""
    for name in MODELS:
        value = params.get(name)
        if found := value[0] if isinstance(value, tuple) and value else value:
            return Path(found)
    # Click parses no arguments while the last option has no value yet, so the words are searched.
    words = split_arg_string(os.environ.get("COMP_WORDS", ""))[2:]
    there = [Path(word) for word in words if any(map(os.path.exists, (word, f"{word}.index", f"{word}.meta")))]
    return there[0] if there else None


def _tensors(path: Path) -> Iterable[str]:
    from ckpttool import checkpoint

    return checkpoint.open(path)


def _layers(path: Path) -> Iterable[str]:
    from ckpttool.verbs.layers import layer_rows

    return [row["name"] for row in layer_rows(path)]


def _rule_sets(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from ckpttool.verbs.rules import ready_sets

    sets = [row for row in ready_sets() if row["name"].startswith(incomplete)]
    files = [] if param.name == "name" else [CompletionItem(incomplete, type="file")]
    return [*(CompletionItem(row["name"], help=row["for"]) for row in sets), *files]


tensor_names, layer_names, rule_sets = _completer(_tensors), _completer(_layers), _rule_sets
