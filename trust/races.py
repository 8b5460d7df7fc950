"""Readers concurrent with writers: each read returns one whole version, though two writers are killed at random.

python trust/races.py [--rounds N] [FORMAT ...]
"""

import argparse
import json
import logging
import os
import random
import signal
import sys
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np

from ckpttool import checkpoint
from ckpttool.core.errors import CkptError
from ckpttool.core.tensors import Array
from ckpttool.formats.format import Writing
from ckpttool.formats.writing.system import exchange
from ckpttool.graph import files
from ckpttool.graph.core import Graph
from ckpttool.model.families import Contents, SavedModelWriter
from ckpttool.model.model import Model, write_model

FIXTURE = Path(__file__).parents[1] / "fixtures" / "bundles" / "adam.ckpt-3"
KEY = "version"
LONGEST = 0.5
"""The latest time, in seconds, at which a writer is killed."""


def _marked(graph: Graph, version: int) -> Graph:
    """Return a graph that contains its version."""
    meta = type(graph.meta)()
    meta.CopyFrom(graph.meta)
    meta.collection_def[KEY].node_list.value[:] = [str(version)]
    return Graph(meta, graph.source)


def _archive(shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    """Write a Keras archive with a weight of each name in its own layer, as a base for copies."""
    with tempfile.NamedTemporaryFile(suffix=".weights.h5") as weights:
        with h5py.File(weights, "w") as file:
            for number, (name, shape) in enumerate(shapes.items()):
                layer = file.create_group(f"layers/layer_{number}/vars")
                layer.attrs["name"] = name.replace("/", "_")
                layer.create_dataset("kernel", data=np.zeros(shape, np.float32))
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("metadata.json", '{"keras_version": "3.15.0"}')
            archive.writestr("config.json", '{"class_name": "Functional", "config": {}}')
            archive.write(weights.name, "model.weights.h5")


class Output:
    """An output of one format, every part of which contains its version."""

    def __init__(self, name: str, shard_bytes: int | None = None, graph: bool = False) -> None:
        """Set the output's name, its number of shards, and whether it has a graph."""
        self.name, self._how, self.graph = name, Writing(shard_bytes=shard_bytes), graph
        opened = checkpoint.open(FIXTURE)
        self._shapes = {key: (tensor.shape, tensor.dtype.numpy) for key, tensor in opened.items()}
        self._meta = files.load(FIXTURE)
        self._like = Path("like.keras") if name.endswith(".keras") else None

    def write(self, version: int) -> None:
        """Write a version over the present one."""
        if self._like is not None:
            self._write_copy(self._like, version)
            return
        values = {name: np.full(shape, version, dtype) for name, (shape, dtype) in self._shapes.items()}
        if not self.graph:
            checkpoint.save(values, self.name, overwrite=True, how=self._how)
            return
        graph, output = _marked(self._meta, version), Path(self.name)
        if output.suffix == ".ckpt":
            write_model(graph, checkpoint.Checkpoint.of(values), output, True)
        else:
            contents = Contents(graph, checkpoint.Checkpoint.of(values))
            SavedModelWriter(FIXTURE).write(contents, output, True)

    def _write_copy(self, like: Path, version: int) -> None:
        """Write an archive as a copy of another one with other values."""
        if not like.exists():
            _archive({name: shape for name, (shape, _) in self._shapes.items()}, like)
        values = {name: np.full(tensor.shape, version, np.float32) for name, tensor in checkpoint.open(like).items()}
        checkpoint.save(values, self.name, overwrite=True, how=Writing(like=like))

    def read(self) -> set[int]:
        """Return the versions that are found in the output: one, if all is well."""
        if not self.graph:
            opened, found = checkpoint.open(self.name), set[int]()
        else:
            model = Model.open(self.name)
            opened, found = model.checkpoint, set(map(int, model.graph.collection(KEY)))
        return found | {int(value) for tensor in opened.values() for value in np.unique(tensor.read())}


def _shards_of_torch(folder: Path, values: Mapping[str, Array]) -> str:
    import torch

    folder.mkdir()
    for name, value in values.items():
        torch.save({name: torch.from_numpy(value)}, folder / f"{name}.bin")
    index = {"metadata": {}, "weight_map": {name: f"{name}.bin" for name in values}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    return "pytorch_model.bin.index.json"


def _distributed(folder: Path, values: Mapping[str, Array]) -> str:
    import torch
    from torch.distributed.checkpoint.state_dict_saver import save

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is a single process
        save({name: torch.from_numpy(each) for name, each in values.items()}, checkpoint_id=folder, no_dist=True)
    return ""


def _zarr(folder: Path, values: Mapping[str, Array]) -> str:
    for name, value in values.items():
        (folder / name).mkdir(parents=True)
        facts = {"zarr_format": 2, "shape": value.shape, "chunks": [1, *value.shape[1:]], "dtype": "<f4", "order": "C"}
        (folder / name / ".zarray").write_text(
            json.dumps({**facts, "compressor": None, "fill_value": 0, "filters": None})
        )
        for number, row in enumerate(value):
            (folder / name / f"{number}.0").write_bytes(row.tobytes())
    (folder / ".zgroup").write_text('{"zarr_format": 2}')
    return ""


def _safetensors(folder: Path, values: Mapping[str, Array]) -> str:
    from safetensors.numpy import save_file

    folder.mkdir()
    for name, value in values.items():
        save_file({name: value}, folder / f"{name}.safetensors")
    index = {"metadata": {}, "weight_map": {name: f"{name}.safetensors" for name in values}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return ""


def _arrays(folder: Path, values: Mapping[str, Array]) -> str:
    folder.mkdir()
    for name, value in values.items():
        np.save(folder / f"{name}.npy", value)
    return ""


def _tfjs(folder: Path, values: Mapping[str, Array]) -> str:
    folder.mkdir()
    groups = []
    for name, value in values.items():
        (folder / f"{name}.bin").write_bytes(value.tobytes())
        groups.append({"paths": [f"{name}.bin"], "weights": [{"name": name, "shape": value.shape, "dtype": "float32"}]})
    model = {"format": "layers-model", "modelTopology": {}, "weightsManifest": groups}
    (folder / "model.json").write_text(json.dumps(model))
    return ""


def _bundle(folder: Path, values: Mapping[str, Array]) -> str:
    folder.mkdir()
    checkpoint.save(values, folder / "x.ckpt", how=Writing(shard_bytes=16))
    return ""


class Linked:
    """A link to one of several folders that other programs wrote; the writers change where it leads."""

    graph, versions = False, 3

    def __init__(self, name: str, make: Callable[[Path, Mapping[str, Array]], str]) -> None:
        """Set the link's name, and what writes a folder of arrays and returns what is opened in it."""
        self.name, self._make, self._opened = name, make, ""

    def write(self, version: int) -> None:
        """Let the link lead to a version, all of which are written first."""
        for number in range(self.versions):
            if not Path(f"{number}").exists():
                values = {f"w{place}": np.full((4, 3), number, np.float32) for place in range(4)}
                self._opened = self._make(Path(f"{number}"), values)
        link = Path(f"link-{os.getpid()}-{version}")
        link.symlink_to(str(version % self.versions))
        link.replace(self.name)
        time.sleep(0.02)

    def read(self) -> set[int]:
        """Return the versions that are found behind the link."""
        opened = checkpoint.open(Path(self.name, self._opened))
        return {int(value) for tensor in opened.values() for value in np.unique(tensor.read())}


class Exchanged(Linked):
    """A folder that is exchanged with another one, mostly twice in quick succession."""

    versions = 2

    def write(self, version: int) -> None:
        """Exchange the folder once or twice, after waiting for a moment of random length."""
        if not Path(self.name).exists():
            super().write(0)
            Path(self.name).unlink()
            Path("0").rename(self.name)
        chance = random.Random(version)
        for most in (5e-3, 1e-3) if chance.random() < 0.8 else (5e-3,):
            time.sleep(most * chance.random() ** 3)
            exchange(Path(self.name), Path("1"))


OUTPUTS: list[Output | Linked] = [
    Output("x.ckpt", graph=True),
    Output("folder", graph=True),
    Output("x.ckpt"),
    Output("shards.ckpt", 16),
    Output("x.safetensors"),
    Output("shards.safetensors", 16),
    Output("x.npz"),
    Output("x.h5"),
    Output("x.keras"),
    Linked("latest-torch", _shards_of_torch),
    Linked("latest-distributed", _distributed),
    Linked("latest-zarr", _zarr),
    Exchanged("torch", _shards_of_torch),
    Exchanged("safetensors", _safetensors),
    Exchanged("distributed", _distributed),
    Exchanged("zarr", _zarr),
    Exchanged("arrays", _arrays),
    Exchanged("tfjs", _tfjs),
    Exchanged("bundle", _bundle),
]


def write_on(output: Output | Linked, seed: int) -> Callable[[], int]:
    """Return a writer's function, which writes its versions one after the other until it is killed."""

    def work() -> int:
        version = seed
        while True:
            output.write(version % 100_000)
            version += 2

    return work


def race(output: Output | Linked, rounds: int) -> Counter[str]:
    """Read repeatedly while two writers are killed at random; return how often each outcome occurred."""
    found, chance, writers = Counter[str](), random.Random(7), [0, 0]
    output.write(1)
    ends = [0.0, 0.0]
    try:
        while found["reads"] < rounds:
            for number in (0, 1):
                if writers[number] and time.monotonic() > ends[number]:
                    os.kill(writers[number], signal.SIGKILL)
                    os.waitpid(writers[number], 0)
                    found["kills"] += 1
                    writers[number] = 0
                if not writers[number]:
                    writers[number] = os.fork()
                    if not writers[number]:
                        try:
                            write_on(output, found["reads"] * 2 + number)()
                        finally:
                            os._exit(1)
                    ends[number] = time.monotonic() + chance.uniform(0.02, LONGEST)
            found["reads"] += 1
            try:
                versions = output.read()
                found["mixed"] += len(versions) != 1
                found["versions"] += 1 if versions != getattr(race, "last", None) else 0
                race.last = versions  # type: ignore[attr-defined]
            except CkptError as error:
                found["changed" if "while it was read" in str(error) else "lost"] += 1
                if "while it was read" not in str(error):
                    print(f"  {error}", flush=True)
    finally:
        for each in filter(None, writers):
            os.kill(each, signal.SIGKILL)
            os.waitpid(each, 0)
    found["mixed"] += len(output.read()) != 1
    output.write(3)
    found["left"] += sum(path.name.startswith(".") for path in Path().iterdir())
    return found


def main() -> int:
    """Run the races, print a table, and return whether anything was bad."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("only", nargs="*", help="names of outputs")
    parser.add_argument("--rounds", type=int, default=2000)
    options = parser.parse_args()
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    logging.disable()  # swept files are reported
    print(f"{'output':20}  reads versions  kills  mixed   lost   left changed while read")
    sums = Counter[str]()
    for output in OUTPUTS:
        if options.only and output.name not in options.only:
            continue
        with tempfile.TemporaryDirectory(dir=place) as folder:
            os.chdir(folder)
            found = race(output, options.rounds)
            os.chdir("/")
        figures = [found[key] for key in ("reads", "versions", "kills", "mixed", "lost", "left", "changed")]
        shown = "{:20} {:6} {:8} {:6} {:6} {:6} {:6} {:6}".format(output.name + " and graph" * output.graph, *figures)
        print(shown, flush=True)
        sums += found
    bad = {name: sums[name] for name in ("mixed", "lost", "left") if sums[name]}
    note = f"{sums['kills']} kills of writers: {bad or 'nothing mixed, lost or left'}"
    figure = {"figure": "readers beside writers", "tried": sums["reads"], "bad": sum(bad.values()), "note": note}
    print(json.dumps(figure), flush=True)
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
