"""TensorBundle, TensorFlow's checkpoint format: an index and data files with a common prefix.

The format: tensorflow/core/util/tensor_bundle/tensor_bundle.h. It is written by TensorFlow's `Saver`,
`tf.train.Checkpoint` and SavedModels.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path

from ckpttool.core.counts import counted
from ckpttool.core.errors import CkptError, CorruptCheckpoint, MissingFile
from ckpttool.core.plain_files import is_file
from ckpttool.core.tensors import Tensor
from ckpttool.core.variable_kinds import OBJECT_GRAPH
from ckpttool.formats.format import ANY, PLAIN, Checked, Format, Tensors, Writing
from ckpttool.formats.reading.limits import UNPACKED_LIMIT, require_few_repeats
from ckpttool.formats.tensorflow import tied_graph
from ckpttool.formats.tensorflow.bundle_data import BundleData, stored_parts
from ckpttool.formats.tensorflow.bundle_index import RANK_LIMIT, BundleEntry, read_index
from ckpttool.formats.tensorflow.object_graph import keyed
from ckpttool.formats.tensorflow.prefix import PART, STATE_FILE, BundleFiles, prefix_of, recorded_checkpoint
from ckpttool.remote import sparse_files

READERS = 2
"""The number of threads that check a bundle; reading and computing checksums release the GIL."""
SMALL_INDEX, LARGEST_UNSEEN = 2 << 20, 64 << 20
"""Index sizes in bytes: up to the first it is always read, up to the second on a server, whose files are not listed."""
PORTION, ENTRY_COST = 8 << 20, 8 << 10
"""The bytes that a thread checks at a time, and the overhead of a tensor expressed in bytes."""


class BundleTensors(Tensors):
    """The tensors of a bundle by name, in the order of its keys."""

    def __init__(self, files: BundleFiles) -> None:
        """Read the index; data files are opened now if there are few, else when a tensor is read."""
        _require_data(files)
        index = read_index(files.index)
        self.entries = index.entries
        self.data = BundleData(files, index)
        self.data.hold()
        _require_few_repeats(files, self.entries)

    def __getitem__(self, name: str) -> Tensor:
        return self.data.tensor(self.entries[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)


class Bundle(Format):
    """TensorFlow's checkpoints of version 2."""

    NAME = "bundle"
    FRAMEWORK = "tensorflow"
    SUFFIXES = (".ckpt", ".index", "")
    LIMITS = "stores every dtype but resources; a variant can be copied from another bundle, not made"
    HOLDS = ANY
    DIMENSIONS = RANK_LIMIT
    OBJECT_GRAPH = True
    OPTIONS = frozenset({"shard_bytes"})

    IN_FOLDER = (STATE_FILE,)

    def recognises(self, path: Path) -> bool:
        """Return whether the index of a path's prefix or folder exists."""
        return is_file(BundleFiles.of(prefix_of(path)).index)

    def open(self, path: Path) -> BundleTensors:
        """Read the index of a bundle, given by its prefix or any of its files.

        Raises:
            MissingFile: there is no index.
            CorruptCheckpoint: the index is damaged, or larger than the data.
            FormatError: it uses an unsupported feature.
        """
        return BundleTensors(files_of(path))

    def save(self, tensors: Mapping[str, Tensor], path: Path, how: Writing = PLAIN) -> None:
        """Write a bundle with `write_bundle`; an object graph among the tensors determines their keys."""
        from ckpttool.formats.tensorflow.bundle_writer import write_bundle  # read-only commands do not need it

        prefix = str(path)
        if OBJECT_GRAPH in tensors:
            tensors = keyed(tensors, how.origins, prefix)
        write_bundle(tensors, BundleFiles(prefix.removesuffix(".index")), how.shard_bytes, how.graph)

    def outputs(self, path: Path) -> list[Path]:
        """Return the index and the data files of a prefix."""
        files = BundleFiles(str(path).removesuffix(".index"))
        return [files.index, *(shard for shard, _, _ in files.shards())]

    def verify(self, path: Path) -> Iterator[Checked]:
        """Check every byte of every tensor, that no two overlap, and the hash of the graph if the index records it."""
        yield from verify_tensors(self.open(path))
        files = files_of(path)
        if why := tied_graph.problem(files):
            yield Checked(str(tied_graph.graph_of(files)), 0, why)

    def stem(self, name: str) -> str:
        """Return the last component of the prefix, given the name of one of its files."""
        return PART.sub("", name)

    def files_beside(self, path: Path) -> list[Path]:
        """Return the index and the graph file, given a prefix or one of its files."""
        prefix = path.with_name(self.stem(path.name))
        return [Path(f"{prefix}.index"), Path(f"{prefix}.meta")]

    def files_named_in(self, folder: Path) -> list[Path]:
        """Return the files of the latest checkpoint according to a folder's `checkpoint` file."""
        latest = recorded_checkpoint(folder)
        return [latest, *self.files_beside(latest)]


def verify_tensors(bundle: BundleTensors) -> Iterator[Checked]:
    """Check every byte of every tensor, and that no two overlap."""
    from concurrent.futures import ThreadPoolExecutor

    def verify_portion(portion: list[tuple[str, BundleEntry]]) -> list[Checked]:
        checked = []
        for name, entry in portion:
            try:
                checked.append(Checked(name, bundle.data.verify_checksum(entry)))
            except CkptError as error:
                checked.append(Checked(name, 0, str(error)))
        return checked

    with ThreadPoolExecutor(READERS) as readers:
        for checked in readers.map(verify_portion, _portions(bundle.entries)):
            yield from checked
    yield from _overlaps(bundle)


def files_of(path: Path) -> BundleFiles:
    """Return the files of the bundle that a path refers to.

    Raises:
        MissingFile: there is no index.
    """
    prefix = prefix_of(path)
    files = BundleFiles.of(prefix)
    if is_file(files.index):
        return files
    raise MissingFile(f"{files.index} is missing: there is no checkpoint {prefix}")


def _require_data(files: BundleFiles) -> None:
    """Compare the size of an index with that of the data, since parsing takes about a hundred times its size in memory.

    Raises:
        CorruptCheckpoint: it is larger than all data, which no real model's is.
    """
    size = sparse_files.size_of(files.index)
    if size <= SMALL_INDEX:
        return
    data = sum(sparse_files.size_of(path) for path, _, _ in files.shards())
    if size > (LARGEST_UNSEEN if sparse_files.at(files.index) else data):
        raise CorruptCheckpoint(
            f"{files.index} has {counted(size, 'byte')}, but its data files have {data}: it is not a checkpoint of a "
            "model"
        )


def _require_few_repeats(files: BundleFiles, entries: Mapping[str, BundleEntry]) -> None:
    """Check that tensors do not refer to the same bytes very often, which takes long to read; `verify` finds each.

    Raises:
        FormatError: they do.
    """
    sizes = (entry.stored.size or sum(part.stored.size for part in entry.slices) for entry in entries.values())
    if sum(sizes) > UNPACKED_LIMIT:  # few models are as large
        parts = [part for entry in entries.values() for part in stored_parts(entry)]
        require_few_repeats(files.index, [(f"{part.shard}", part.offset, part.size) for part in parts])


def _portions(entries: Mapping[str, BundleEntry]) -> Iterator[list[tuple[str, BundleEntry]]]:
    """Yield the entries in portions of a few megabytes, so that the threads finish at about the same time."""
    portion: list[tuple[str, BundleEntry]] = []
    nbytes = 0
    for item in entries.items():
        portion.append(item)
        nbytes += item[1].spec.nbytes + ENTRY_COST
        if nbytes >= PORTION:
            yield portion
            portion, nbytes = [], 0
    yield portion


def _overlaps(bundle: BundleTensors) -> Iterator[Checked]:
    """Yield the tensors that share bytes with another; no writer produces them, and editing one would change both."""
    places = sorted(
        (stored.shard, stored.offset, stored.offset + stored.size, name)
        for name, entry in bundle.entries.items()
        for stored in stored_parts(entry)
        if stored.size
    )
    for (shard, _, end, name), (next_shard, start, _, following) in pairwise(places):
        if shard == next_shard and start < end:
            yield Checked(following, 0, f"shares bytes of shard {shard} with {name}, from byte {start}")
