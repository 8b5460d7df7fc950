"""Lying servers: whatever they answer, the right weights are read or ckpttool's error is raised; in bounded time.

python trust/servers.py [--every N] [PART OF A LIE'S NAME ...]

Bad are: other values, mixed versions, an error that is not ckpttool's or has several lines, more than ten seconds,
more than 200 MB. Servers whose files have no version (no ETag, no date) are tried with the lies about versions too.
"""

import argparse
import json
import os
import resource
import signal
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import aiohttp  # noqa: F401 - not again in each child
import fsspec.implementations.http  # noqa: F401
import h5py
import numpy as np
import samples
from lying_server import MARKS, Server, Trial
from server_lies import HONEST, LIES

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError
from ckpttool.formats.format import Writing
from ckpttool.graph import files as graphs
from ckpttool.remote import patience, server_errors

SECONDS, MEGABYTES = 10, 200
PLACES = ("head", "get", "later")
FIXTURES = Path(__file__).parents[1] / "fixtures"
Versions = tuple[dict[str, bytes], dict[str, bytes]]


class Served(NamedTuple):
    """A checkpoint on the server in two versions: the file to open, and the values of both."""

    name: str
    old: dict[str, bytes]
    new: dict[str, bytes]


class Outcome(NamedTuple):
    """The outcome of a trial; `told` is the number of lies told."""

    verdict: str
    seconds: float
    megabytes: float
    told: int = 0


def weights(value: float) -> dict[str, np.ndarray]:
    """Return the tensors of one version."""
    return {name: np.full(size, value, np.float32) for name, size in {"a": 30_000, "b": 30_000, "c": 500}.items()}


def versions(name: str, folder: Path) -> Versions:
    """Return the files of both versions of a checkpoint; where sizes are equal, the tensors are at the same offsets."""
    found = []
    for number in (1.0, 2.0):
        place = folder / f"{name}-{number}"
        place.mkdir()
        if name == "torch.pt":
            (place / name).write_bytes((FIXTURES / "torch" / "state_dict.pt").read_bytes())
        elif name == "x.meta":
            (place / name).write_bytes((FIXTURES / "my_model_final.ckpt.meta").read_bytes())
        elif name == "x.keras":
            archive(place / name, number)
        else:
            how = Writing(shard_bytes=130_000) if name == "shards.safetensors" else Writing()
            checkpoint.save(weights(number), place / name, how=how)
        found.append({file.name: file.read_bytes() for file in place.iterdir() if file.is_file()})
    return found[0], found[1]


def archive(path: Path, value: float) -> None:
    """Write a Keras archive by hand."""
    with h5py.File(path.with_name("weights.h5"), "w") as file:
        for name, array in weights(value).items():
            file[f"layers/{name}/vars/0"] = array
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("metadata.json", b'{"keras_version":"3.15.0"}')
        file.writestr("config.json", samples.CONFIG)
        file.write(path.with_name("weights.h5"), "model.weights.h5")
    path.with_name("weights.h5").unlink()


FORMATS = ("x.safetensors", "shards.safetensors", "x.ckpt", "x.npz", "x.h5", "x.keras", "torch.pt", "x.meta")


def read(path: Path | str) -> dict[str, bytes]:
    """Return all values of a checkpoint, or the bytes of a graph."""
    if str(path).endswith(".meta"):
        return {"graph": graphs.load(path).meta.SerializeToString(deterministic=True)}
    return {name: np.asarray(tensor.read()).tobytes() for name, tensor in checkpoint.open(path).items()}


def served(folder: Path) -> Iterator[tuple[Served, Versions]]:
    """Yield checkpoints of all formats, with the values of both versions."""
    for name in FORMATS:
        both = versions(name, folder)
        yield Served(name, read(folder / f"{name}-1.0" / name), read(folder / f"{name}-2.0" / name)), both


def judged(url: str, wanted: Served, is_honest: bool, marks: Mapping[str, str]) -> str:
    """Open and read a checkpoint, and return the outcome; bad ones begin with that word."""
    try:
        found = read(url)
    except CkptError as error:
        text = str(error)
        if "\n" in text or len(text) > 3000:
            return f"bad: an error of {text.count(chr(10)) + 1} lines, {len(text)} characters"
        return f"bad: the truth is refused: {text}" if is_honest else f"refused: {text}"
    except BaseException as error:  # noqa: BLE001 - that is what is looked for
        return f"bad: {type(error).__name__}: {error}"
    if found in (wanted.old, None if is_honest else wanted.new):
        return "right"
    if "shards" in url and not marks:
        return "mixed: several files of a server that names no versions, which SECURITY.md excepts"
    return "bad: values of both versions, or of none"


def attempt(url: str, trial: Trial, wanted: Served, is_honest: bool) -> Outcome:
    """Read from a server in a child process, with a time limit."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        _in_child(url, wanted, is_honest, trial.marks, writer)
    os.close(writer)
    with os.fdopen(reader) as answers:
        text = answers.read()
    _, status = os.waitpid(child, 0)
    trial.over.set()
    if not text:
        return Outcome(f"bad: ended by signal {status & 127}", SECONDS, 0, trial.told)
    verdict, seconds, megabytes = json.loads(text)
    return Outcome(verdict, seconds, megabytes, trial.told)


def _in_child(url: str, wanted: Served, is_honest: bool, marks: Mapping[str, str], writer: int) -> None:
    """Write the outcome as JSON, and exit."""
    signal.alarm(3 * SECONDS)
    Path("/proc/self/clear_refs").write_text("5")
    before, start = _peak(), time.monotonic()
    verdict = judged(url, wanted, is_honest, marks)
    seconds, megabytes = time.monotonic() - start, (_peak() - before) / 1024
    if seconds > SECONDS or megabytes > MEGABYTES:
        verdict = f"bad: {seconds:.1f} s, {megabytes:.0f} MB: {verdict}"
    with os.fdopen(writer, "w") as answers:
        json.dump((verdict, seconds, megabytes), answers)
    os._exit(0)


def _peak() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def trials(names: list[str]) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield each lie with the requests that get it, and the version headers that the server sends."""
    for lie in (*HONEST, *LIES):
        if not names or any(name in lie for name in names):
            for place in ("all",) if lie in HONEST else PLACES:
                yield lie, place, MARKS
            if "version" in lie or lie in HONEST or lie.startswith("a file that"):
                yield lie, "later", {"Last-Modified": MARKS["Last-Modified"]}
                yield lie, "later", {}


def impatient(seconds: float) -> None:
    """Shorten the timeouts, so that each trial takes moments."""
    server_errors.SECONDS, patience.SLOWEST, patience.EACH = seconds, 1 << 30, seconds / 60


def main() -> int:
    """Try all lies with all formats, print a line for each bad outcome, and the totals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="each Nth trial alone")
    parser.add_argument("--verbose", action="store_true", help="a line for each trial")
    parser.add_argument("names", nargs="*")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    counts: Counter[str] = Counter()
    server, most, largest, told = Server(), 0.0, 0.0, set()
    with tempfile.TemporaryDirectory() as folder:
        every = list(served(Path(folder)))
        todo = [(*trial, *each) for trial in trials(options.names) for each in every]
        for lie, place, marks, wanted, both in todo[:: options.every]:
            impatient(0.4 if lie in LIES else 20.0)
            trial = Trial(*both, {**HONEST, **LIES}[lie], place, dict(marks))
            outcome = attempt(f"{server.put(trial)}/{wanted.name}", trial, wanted, lie in HONEST)
            if not outcome.told:
                counts["not told"] += 1
                continue
            told.add(lie)
            kind = outcome.verdict.partition(":")[0]
            counts[kind] += 1
            most, largest = max(most, outcome.seconds), max(largest, outcome.megabytes)
            if options.verbose or kind == "bad":
                line = f"{lie} | {place} | {','.join(marks) or 'no marks'} | {wanted.name} | {outcome.seconds:.1f} s"
                print(f"{line} | {outcome.megabytes:.0f} MB | {outcome.verdict[:300]!r}", flush=True)
    tried = counts.total() - counts["not told"]
    print(f"{len(told)} behaviours, {tried} trials: {dict(counts)}; at most {most:.1f} s, {largest:.0f} MB")
    note = f"{len(told)} behaviours, {len(FORMATS)} formats, at most {most:.1f} s and {largest:.0f} MB"
    print(json.dumps({"figure": "lying servers", "tried": tried, "bad": counts["bad"], "note": note}))
    return int(counts["bad"] > 0)


if __name__ == "__main__":
    sys.exit(main())
