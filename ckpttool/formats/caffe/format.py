"""Read Caffe's `.caffemodel` without Caffe: the blobs of each layer, named as in Caffe's HDF5 files (`conv1/0`)."""

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

from ckpttool.core.tensors import Array, Tensor
from ckpttool.formats.caffe.model import Blob, is_model, read_model
from ckpttool.formats.format import Arrangement, Format
from ckpttool.formats.reading.data_file import ByteRange, CheckpointFile, gathered
from ckpttool.formats.reading.raw_tensors import RawTensors, TensorLocation

SUFFIX = ".caffemodel"


class CaffeTensors(RawTensors):
    """The blobs of a network by layer and index; unsupported ones are skipped, and listed in `left_out`."""

    def __init__(self, path: Path) -> None:
        """Find the blobs of all layers; for errors see `read_model`."""
        super().__init__()
        file = CheckpointFile(path)
        model = read_model(file)
        self.metadata = {"name": model.name} if model.name else {}
        self.left_out = tuple(model.left_out)
        self._split: dict[str, Blob] = {}
        for blob in (blob for layer in model.layers.values() for blob in layer.blobs):
            name = blob.spec.name
            self.locations[name] = TensorLocation(file, blob.spec, blob.pieces[0].start if blob.pieces else 0)
            if len(blob.pieces) > 1:
                self._split[name] = blob
                self.coded[name] = partial(_gathered, file, blob)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._split:
            return super().__getitem__(name)
        location, blob = self.locations[name], self._split[name]
        return Tensor(location.spec, self.coded[name], partial(_pieces, location.opened(), blob))


class Caffe(Format):
    """The format of Caffe."""

    NAME = "caffe"
    CHECKSUMS = False
    FRAMEWORK = "caffe"
    LIMITS = "is read only, the blobs of a .caffemodel: save safetensors, or HDF5; keeps no checksums"
    WRITES = False
    INSTEAD = "models of Caffe are read only; `to` safetensors keeps the same tensors"
    HOLDS = frozenset({"float16", "float32", "float64"})

    def recognises(self, path: Path) -> bool:
        """Return whether a file parses as a network, or has its suffix and is not a Git LFS pointer."""
        if not path.is_file():
            return False
        file = CheckpointFile(path)
        return not file.is_lfs_pointer if path.suffix == SUFFIX else is_model(file)

    def open(self, path: Path) -> CaffeTensors:
        """Return the blobs; for errors see `CaffeTensors`."""
        return CaffeTensors(path)

    def arrangements(self, path: Path) -> Mapping[str, Arrangement]:
        """Return the epsilons of normalisations, and which matrices are stored with the input axis first."""
        return {
            blob.spec.name: Arrangement(False if layer.transposed else None, epsilon=layer.epsilon)
            for layer in read_model(CheckpointFile(path)).layers.values()
            for blob in layer.blobs
            if layer.transposed or layer.epsilon is not None
        }


def _pieces(file: CheckpointFile, blob: Blob) -> Iterator[memoryview]:
    for part in blob.pieces:
        for piece in file.stream(blob.spec.name, ByteRange(part.start, part.end - part.start)):
            yield memoryview(piece)
    file.require_unchanged()


def _gathered(file: CheckpointFile, blob: Blob) -> Array:
    raw = gathered(_pieces(file, blob), blob.spec.nbytes)
    return raw.view(blob.spec.dtype.numpy.newbyteorder("<")).astype(blob.spec.dtype.numpy).reshape(blob.spec.shape)
