"""TensorFlow under the same attacks: damaged and crafted bundles, kills while it saves, models that act.

Each trial is in a fork with TensorFlow, with limits on memory and time, because TensorFlow ends the process at times.
"""

import argparse
import json
import os
import resource
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import acting_models
import crafted_bundles
import tensorflow_kills
from acting_models import FIGURE as ACTING
from crafting import MEGABYTES, SECONDS, peak
from samples import folder as quick_folder

Trial = Callable[[], str]
"""Runs one trial and returns its outcome."""


def outcomes(trials: Iterable[Trial]) -> Iterator[str]:
    """Yield the outcome of each trial: a fork runs one after the other, and if it dies, another continues after it."""
    todo = list(trials)
    done = 0
    while done < len(todo):
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            _do(todo[done:], writer)
        os.close(writer)
        with os.fdopen(reader) as answers:
            for line in answers:
                done += 1
                yield line.rstrip("\n")
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if done < len(todo):
            done += 1
            yield f"died: {signal.Signals(-code).name if code < 0 else code}"


def _do(trials: list[Trial], writer: int) -> None:
    """Run trials one after the other, and write a line for each."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        for trial in trials:
            signal.alarm(6 * SECONDS)
            os.write(writer, trial().replace("\n", " ").encode()[:4000] + b"\n")
    finally:
        os._exit(0)


def read(prefix: Path) -> str:
    """Read all tensors of a checkpoint, as a program would; return names and values, or that something was refused."""
    import tensorflow as tf

    values, refused = [], None
    try:
        opened = tf.train.load_checkpoint(str(prefix))
        names = sorted(opened.get_variable_to_shape_map())
    except Exception as error:  # noqa: BLE001 - whatever it is, it was noticed
        return f"refused: {type(error).__name__}"
    for name in names:
        try:
            values.append((name, opened.get_tensor(name).tolist()))
        except Exception as error:  # noqa: BLE001
            refused = f"refused: {type(error).__name__}"
    return refused or repr(values)


def small_bundle(prefix: Path) -> str:
    """Have TensorFlow save a tensor, a tensor in two slices, and strings; return the prefix."""
    import tensorflow as tf

    names, slices = ["kernel", "parts", "parts", "texts"], ["", "32 0,16", "32 16,16", ""]
    values = [[[0.5] * 4] * 4, [1.0] * 16, [2.0] * 16, ["a", "bc"]]
    tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=slices, tensors=values)
    return str(prefix)


def damaged(change: Callable[[bytes], Iterator[bytes]]) -> Iterator[Trial]:
    """Yield trials that read a small bundle with one changed file, each of both in turn."""
    place = Path(tempfile.mkdtemp())
    list(outcomes([lambda: small_bundle(place / "x")]))
    right = next(outcomes([lambda: read(place / "x")]))
    files = {path: path.read_bytes() for path in sorted(place.iterdir())}
    for path, data in files.items():
        for changed in change(data):
            yield partial(_judged, files | {path: changed}, place / "x", right)


def _judged(files: dict[Path, bytes], prefix: Path, right: str) -> str:
    for path, data in files.items():
        path.write_bytes(data)
    found = read(prefix)
    return "found" if found.startswith("refused") else "not noticed" if found == right else "other values"


def truncations(data: bytes) -> Iterator[bytes]:
    """Yield each prefix of a file."""
    return (data[:length] for length in range(len(data)))


def flips(data: bytes) -> Iterator[bytes]:
    """Yield a file with each of its bits flipped."""
    for bit in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        yield bytes(flipped)


def crafted() -> Iterator[Trial]:
    """Yield trials that read the crafted bundles and state files."""
    for case in crafted_bundles.cases():
        yield partial(_measured, case.make)


def _measured(make: Callable[[Path], Path]) -> str:
    import tensorflow as tf

    with tempfile.TemporaryDirectory() as folder:
        path = make(Path(folder))
        Path("/proc/self/clear_refs").write_text("5")
        before, start = peak(), time.process_time()
        latest = tf.train.latest_checkpoint(str(path)) if path.is_dir() else str(path)
        found = "refused" if latest is None or read(Path(latest)).startswith("refused") else "read"
        seconds, megabytes = time.process_time() - start, (peak() - before) / 1024
    return "too much" if seconds > SECONDS or megabytes > MEGABYTES else found


def acting(every: int) -> Iterator[Trial]:
    """Yield trials that run models that act; one that ends the process has acted."""
    for _, _, folder in acting_models.made(Path(tempfile.gettempdir()), every):
        yield partial(acting_models.run_in_tensorflow, folder)


def figure(name: str, trials: Iterable[Trial], bad: tuple[str, ...]) -> dict[str, Any]:
    """Run trials, and count the outcomes: those that contain one of some words are bad."""
    counts = Counter(found.partition(":")[0] for found in outcomes(trials))
    print(name, dict(counts), flush=True)
    worst = [f"{counts[each]:,} {SAID.get(each, each)}" for each in bad if counts[each]]
    return {
        "figure": name,
        "tried": counts.total(),
        "bad": sum(counts[each] for each in bad),
        "note": ", ".join(worst),
    }


SAID = {"died": "end the process", "too much": f"take over {SECONDS} s or {MEGABYTES} MB"}
DAMAGE = ("died", "not noticed", "other values")
FIGURES: dict[str, Callable[[int], dict[str, Any] | None]] = {
    "truncations": lambda every: figure("truncations", islice(damaged(truncations), 0, None, every), DAMAGE),
    "flips": lambda every: figure("bit flips", islice(damaged(flips), 0, None, every), DAMAGE),
    "crafted": lambda every: figure("crafted files", islice(crafted(), 0, None, every), ("died", "too much")),
    "acting": lambda every: figure(ACTING, acting(every), ("acted", "died")),
    "kills": tensorflow_kills.figure,
}


def main() -> None:
    """Run all trials, or the given ones, and print the totals."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", nargs="*", choices=[*FIGURES, []], metavar="FIGURE")
    parser.add_argument("--every", type=int, default=1, help="only every Nth trial")
    asked = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import tensorflow as tf

    with tempfile.TemporaryDirectory(dir=quick_folder()) as tempfile.tempdir:
        found = [FIGURES[name](asked.every) for name in asked.figures or FIGURES]
    print(json.dumps([{**each, "of": f"TensorFlow {tf.__version__}"} for each in found if each]))


if __name__ == "__main__":
    main()
