"""A picture of curves: checked before the work whose curves it shows, drawn by Matplotlib when that is done."""

from pathlib import Path
from typing import Any

from ckpttool.core.errors import MissingDependency, PlanError
from ckpttool.formats.writing.files import refuse_existing, refuse_unwritable, replacing

SUFFIXES = (".png", ".pdf", ".svg")
DOTS_PER_INCH = 150


class Picture:
    """A file that a figure will be written to; no display is needed, and others' settings of Matplotlib stay."""

    def __init__(self, path: Path, overwrite: bool) -> None:
        """Check that the picture may be written, and that Matplotlib is there to draw it.

        Raises:
            PlanError: its name ends as no picture's does.
            ExistingOutput: it is there already.
            MissingDependency: Matplotlib is not installed.
        """
        if path.suffix.lower() not in SUFFIXES:
            raise PlanError(f"--plot {path}: expected a name that ends with {', '.join(SUFFIXES)}")
        refuse_existing([path], overwrite)
        refuse_unwritable(path)
        try:
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingDependency("--plot needs Matplotlib: pip install 'ckpttool[plot]'") from error
        self.path, self._new = path, Figure

    def figure(self, width: float, height: float) -> Any:
        """Return a figure of so many inches to draw on."""
        return self._new((width, height), DOTS_PER_INCH, layout="constrained")

    def write(self, figure: Any) -> None:
        """Write a figure, whole or not at all."""
        with replacing(self.path) as file:
            figure.savefig(file, format=self.path.suffix.lower().removeprefix("."))
