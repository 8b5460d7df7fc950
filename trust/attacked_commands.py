"""The commands that are run with faults, their input files, and running them in this process."""

import contextlib
import io
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from ckpttool import checkpoint
from ckpttool.cli import main

FIXTURES = Path(__file__).parents[1] / "fixtures"
MODEL, OTHER = "model.ckpt", "other.ckpt"
"""Two models of one graph, in the folder of a case."""


@dataclass(frozen=True)
class Case:
    """A command that writes `output`; the command `old` writes an old output there first."""

    name: str
    arguments: tuple[str, ...]
    output: str
    old: tuple[str, ...]

    def argv(self, overwrite: bool) -> list[str]:
        """Return the command line."""
        return [*self.arguments, "-o", self.output, *(["--overwrite"] if overwrite else [])]


def case(line: str, output: str, old: str = "", name: str = "") -> Case:
    """Return a case for a command line, the output's name, and the command line that writes the old one."""
    words = tuple(line.split())
    return Case(name or f"{words[0]} -> {output}", words, output, tuple((old or line.replace(MODEL, OTHER)).split()))


PLAN = '[[step]]\ncast = "float64"\n[[step]]\nscale = "hidden1/.*=0.5"\n[[step]]\nadd_prefix = "new"\n'
"""Steps of an `apply`."""
VOCABULARIES = "merge tokens.npz others.npz --how linear --vocab tokens.txt --vocab others.txt"
CASES = [
    case(f"convert {MODEL}", "out.npz"),
    case(f"convert {MODEL}", "out.safetensors"),
    case(f"convert {MODEL}", "out.h5"),
    case(f"convert {MODEL}", "out.ckpt"),
    case(f"split {MODEL} --shard-size 8KB", "out.ckpt", name="split -> out.ckpt"),
    case(f"split {MODEL} --shard-size 8KB", "out.safetensors", name="split -> out.safetensors"),
    case(f"join {MODEL}", "out.safetensors", f"split {OTHER} --shard-size 8KB", name="join over a split one"),
    case(f"edit {MODEL} --add-prefix new", "out.ckpt"),
    case(f"average {MODEL} {OTHER}", "out.ckpt", f"edit {OTHER} --add-prefix new"),
    case(f"average {MODEL} {OTHER} --latest", "out.ckpt", f"edit {OTHER} --add-prefix new", "average --latest"),
    case(f"merge {MODEL} {OTHER} --how linear --weights 0.5,0.5", "out.ckpt", f"edit {OTHER} --add-prefix new"),
    case(f"import values.npz --into {MODEL}", "out.ckpt", f"strip {OTHER}"),
    case(f"freeze {MODEL} --layers hidden1 --method stop-gradient", "out.ckpt"),
    case(f"strip {MODEL}", "out.ckpt", f"edit {OTHER} --add-prefix new"),
    case(f"modernize {MODEL}", "out.ckpt", f"strip {OTHER}"),
    case(f"fold {MODEL}", "out.pb"),
    case(f"collections {MODEL} --add mine X:0", "out.meta", f"collections {OTHER} --add yours X:0"),
    case(f"export-saved-model {MODEL}", "out"),
    case("edit saved --cast float32", "out", f"export-saved-model {OTHER}", "edit a SavedModel"),
    case("edit keras.weights.h5 --like keras.weights.h5", "out.weights.h5"),
    case("edit keras_pretraining.h5 --like keras_pretraining.h5 --scale .*=2", "out.h5", name="edit -> Keras 2's .h5"),
    case(f"salvage {MODEL}", "out.npz"),
    case(f"salvage {MODEL}", "out.ckpt"),
    case(f"apply plan.toml {MODEL}", "out.ckpt"),
    case(f"apply plan.toml {MODEL}", "out.safetensors"),
    case(f"apply merge.toml {MODEL} {OTHER}", "out.ckpt", f"apply merge.toml {OTHER} {MODEL}", "apply a merge"),
    case(f"report {MODEL}", "out.html"),
    case(f"apply-patch {MODEL} change.patch", "out.ckpt", f"apply-patch {OTHER} back.patch"),
    case(f"apply-patch {MODEL} change.patch", "out.npz", f"apply-patch {OTHER} back.patch"),
    case(f"diff {MODEL} {OTHER} --patch", "out.patch", f"diff {OTHER} {MODEL} --patch"),
    case(f"extract {MODEL} {OTHER} --rank 1 --whole", "out.safetensors", f"extract {OTHER} {MODEL} --rank 1 --whole"),
    case(f"extract {MODEL} {OTHER} --rank 1 --whole", "adapter", f"extract {OTHER} {MODEL} --rank 1 --whole"),
    case(VOCABULARIES, "out.npz", f"{VOCABULARIES} --weights 0.9,0.1", "merge --vocab -> out.npz"),
    case(VOCABULARIES, "out.safetensors", f"{VOCABULARIES} --weights 0.9,0.1", "merge --vocab -> out.safetensors"),
]


FINETUNE = "finetune full.ckpt --data rows.npz --epochs 1 --threads 1 --freeze hidden[12]"
WITH_TENSORFLOW = [
    case("new --input 4 --layers a=dense(3);b=dense(2)", "out.ckpt", "new --input 4 --layers a=dense(5);b=dense(2)"),
    case("reuse full.ckpt --layers hidden1 --head o=dense(3)", "out.ckpt", f"strip {MODEL}"),
    case(FINETUNE, "out.ckpt", f"{FINETUNE} --seed 3"),
    case(f"{FINETUNE} --cache --cache-dir cached", "out.ckpt", f"{FINETUNE} --seed 3", "finetune --cache"),
    case(f"{FINETUNE} --to saved-model", "out", f"{FINETUNE} --to saved-model --seed 3", "finetune -> SavedModel"),
]
"""Commands that run graphs; TensorFlow is imported before the trials fork, but run only in these."""


def make_inputs(folder: Path) -> int:
    """Write the commands' inputs to a folder: two models of one graph with different values, and derived files."""
    import numpy as np

    os.chdir(folder)
    _done("strip", FIXTURES / "my_model_final.ckpt", "-o", MODEL)
    values = {name: tensor.read() for name, tensor in checkpoint.open(MODEL).items()}
    checkpoint.save({name: np.asarray(value * 2, value.dtype) for name, value in values.items()}, "values.npz")
    _done("import", "values.npz", "--into", MODEL, "-o", OTHER)
    _done("export-saved-model", MODEL, "-o", "saved")
    _done("convert", FIXTURES / "my_model_final.ckpt", "--to", "bundle", "-o", "full.ckpt")
    shutil.copy(FIXTURES / "my_model_final.ckpt.meta", "full.ckpt.meta")
    rows = np.load(FIXTURES / "mnist_small.npz")
    np.savez("rows.npz", **{name: rows[name][:64] for name in rows.files})
    shutil.copy(FIXTURES / "bert" / "hub_backbone.weights.h5", "keras.weights.h5")
    shutil.copy(FIXTURES / "bert" / "keras_pretraining.h5", "keras_pretraining.h5")
    Path("plan.toml").write_text(PLAN)
    Path("merge.toml").write_text('[[step]]\nmerge = ["a", "b"]\nhow = "linear"\nweights = [0.75, 0.25]\n' + PLAN)
    for a, b, patch in ((MODEL, OTHER, "change.patch"), (OTHER, MODEL, "back.patch")):
        _done("diff", a, b, "--patch", "-o", patch)
    for name, tokens in (("tokens", "abcde"), ("others", "cdefg")):
        np.savez(
            f"{name}.npz", embedding=rows["x_train"][:5, :4].astype(np.float32) + len(name), w=np.ones(3, np.float32)
        )
        Path(f"{name}.txt").write_text("\n".join(tokens) + "\n")
    return 0


def run(argv: list[str]) -> tuple[int, str]:
    """Run a command in this process; return its exit code and output."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            main.main(argv, prog_name="ckpttool")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1, said.getvalue()
    return 0, said.getvalue()


def _done(*argv: object) -> None:
    code, said = run(list(map(str, argv)))
    if code:
        raise SystemExit(f"ckpttool {' '.join(map(str, argv))}: {said}")


def show(line: str) -> None:
    """Print a line, and flush it."""
    print(line, flush=True)
