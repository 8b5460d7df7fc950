"""Apply to each: run one plan on every checkpoint that a pattern matches, each with its own output."""

import glob
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, PlanError
from ckpttool.core.names import by_value, listed
from ckpttool.formats import registry
from ckpttool.formats.tensorflow.prefix import prefix_of

NAME, FOLDER = "{name}", "{folder}"
"""The placeholders in an output for the source's name without suffix, and for its folder's name."""
BESIDE = (".lineage.json", ".run.json")
"""Suffixes of files beside checkpoints that are not checkpoints."""


def matching(paths: Iterable[Path]) -> list[Path]:
    """Return paths with patterns such as `runs/*.ckpt` expanded, each checkpoint once.

    A pattern that is the name of a file, or matches nothing, is returned unchanged.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> for name in ("step-10.ckpt.index", "step-9.ckpt.index", "step-9.ckpt.data-00000-of-00001"):
    ...     _ = (folder / name).write_bytes(b"")
    >>> [path.name for path in matching([folder / "step-*.ckpt"])]
    ['step-9.ckpt', 'step-10.ckpt']
    """
    found: dict[Path, None] = {}
    for path in paths:
        pattern = str(path)
        if not glob.has_magic(pattern) or path.exists():
            found[path] = None
            continue
        root, within = Path(path.anchor), path.relative_to(path.anchor)
        files = [file for each in (f"{within}", f"{within}.index") for file in root.glob(each)]
        matched = {prefix_of(file) for file in files if not file.name.endswith(BESIDE)}
        found |= dict.fromkeys(sorted(matched, key=_in_order) or [path])
    return list(found)


def outputs_of(sources: Sequence[Path], template: Path) -> dict[Path, Path]:
    """Return the output of each source.

    >>> outputs_of([Path("runs/a/model.ckpt"), Path("runs/b/model.ckpt")], Path("small/{folder}-{name}.npz"))
    {PosixPath('runs/a/model.ckpt'): PosixPath('small/a-model.npz'), PosixPath('runs/b/model.ckpt'): \
PosixPath('small/b-model.npz')}

    Raises:
        PlanError: there is no source, two sources would have the same output, or a placeholder stands for no name.
    """
    if not sources:
        raise PlanError(f"no source is given for {template}")
    outputs: dict[Path, Path] = {}
    for source in sources:
        place = _output_of(source, template)
        if place in outputs.values():
            other = next(each for each, taken in outputs.items() if taken == place)
            raise PlanError(f"{other} and {source} would both be written to {place}; {FOLDER} has their folders' names")
        outputs[source] = place
    return outputs


def _output_of(source: Path, template: Path) -> Path:
    """Return the output of a source: a placeholder becomes one name, so the output is where the template says."""
    names = {NAME: _name(source), FOLDER: source.parent.resolve().name}
    for placeholder, name in names.items():
        if placeholder in str(template) and name in ("", ".", ".."):
            raise PlanError(
                f"{source}: {placeholder} in {template} would be {name!r}, expected a name; rename the source"
            )
    return Path(re.sub("|".join(map(re.escape, names)), lambda found: names[found[0]], str(template)))


def require_all(failed: Sequence[Path], places: Sequence[Path]) -> None:
    """Check that all outputs were written.

    Raises:
        CkptError: some were not.
    """
    if failed:
        named = listed([str(place) for place in failed], 5)
        raise CkptError(f"{len(failed)} of {counted(len(places), 'output')} not written: {named}; the others are whole")


def _name(source: Path) -> str:
    """Return the name of a source without the suffix of its format."""
    name = prefix_of(source).name
    known = {*registry.FOREIGN_SUFFIXES, *(suffix for each in registry.every() for suffix in each.SUFFIXES)}
    longest = max((suffix for suffix in known if name.endswith(suffix) and name != suffix), key=len, default="")
    return name.removesuffix(longest)


def _in_order(path: Path) -> list[tuple[int, str]]:
    """Return a sort key that orders numbers in names by value."""
    return [by_value(part) for part in re.split(r"(\d+)", str(path))]
