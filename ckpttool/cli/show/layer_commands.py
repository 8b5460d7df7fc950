"""Command lines for the layers of a model, to be copied from a page."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

Commands = Callable[[str, str], Sequence[tuple[str, str]]]


def layer_commands(model: Path) -> Commands:
    """Return a function from a scope's name and its pattern to labels with command lines.

    >>> layer_commands(Path("a b.ckpt"))("fc", "fc")[1]
    ('values', "ckpttool vars 'a b.ckpt' --layers fc --stats")
    """
    path = shlex.quote(str(model))

    def commands(name: str, pattern: str) -> list[tuple[str, str]]:
        layers, layer = shlex.quote(pattern), shlex.quote(name)
        return [
            ("pattern", pattern),
            ("values", f"ckpttool vars {path} --layers {layers} --stats"),
            ("filters", f"ckpttool show {path} {layer} --filters -o filters.png"),
            ("keep alone", f"ckpttool edit {path} --keep {layers} -o part.safetensors"),
            ("freeze", f"ckpttool freeze {path} --layers {layers} -o frozen.ckpt"),
        ]

    return commands
