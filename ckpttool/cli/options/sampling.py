"""`--check`: an imported model held against a sample of what the source framework computed."""

from pathlib import Path

from ckpttool import checkpoint
from ckpttool.cli.show.output import answer, rows, say
from ckpttool.model.model import Model
from ckpttool.verbs.sample import Difference, compare

COLUMNS = ("name", "tensor", "shape", "max_abs", "relative", "equal")


def check_sample(model: Path, sample: Path | None, tolerance: float, as_json: bool) -> None:
    """Print how far each layer is from the sample, and say which goes wrong first; the answer is no where one does."""
    if sample is None:
        say("nothing was checked numerically: --check SAMPLE holds the model against what the source computed")
        return
    opened = Model.open(model)
    found = compare(opened.graph, opened.checkpoint, checkpoint.open(sample), tolerance)
    if not as_json:
        rows((row.as_json() for row in found), COLUMNS)
    say(_verdict(found, tolerance))
    answer(all(row.equal for row in found))


def _verdict(found: list[Difference], tolerance: float) -> str:
    wrong = next((row for row in found if not row.equal), None)
    if wrong is None:
        largest = max(row.relative for row in found)
        return f"checked: {len(found)} tensors equal the sample's to {largest:.1e} of the largest number"
    apart = f"{wrong.relative:.1e} of the largest number apart, expected at most {tolerance:.1e}"
    return f"wrong from {wrong.name} on ({wrong.tensor}): {apart}"
