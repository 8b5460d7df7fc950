"""Keras's `.keras`: a zip with a model's configuration, which is copied, and its weights in HDF5.

The weights are read in place, inside the archive; the configuration defines the order of the layers, and in Keras 2
their names.
"""

import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ckpttool.core.errors import CorruptCheckpoint, FormatError, PlanError
from ckpttool.core.tensors import PIECE, Tensor
from ckpttool.formats.format import PLAIN, Checked, Format, Writing
from ckpttool.formats.hdf5.source import Hdf5Source, Unpacked, stamp_of
from ckpttool.formats.hdf5.tree import Hdf5Tensors, Tree, walk
from ckpttool.formats.hdf5.writer import compare, write_tree
from ckpttool.formats.keras.config import in_order, layer_names, weight_orders, with_layer_names
from ckpttool.formats.keras.copy import EditedCopy, edited, like_of
from ckpttool.formats.keras.files import CONFIG, SUFFIX, is_archive, is_whole_model
from ckpttool.formats.keras.names import Weight, weights_in
from ckpttool.formats.reading.archive import MemberInPlace, member_bytes, members, opened
from ckpttool.formats.writing.files import replacing, writing

WEIGHTS = "model.weights.h5"
SMALL = 4 << 20
"""Bytes of weights up to which their checksum is verified when they are listed: it takes a millisecond."""
LARGEST = 1 << 24
"""Maximum size in bytes of a configuration; one of a thousand layers has about a twentieth of it."""


class KerasArchive(Format):
    """A whole model of Keras 2.15 or 3."""

    NAME = "keras"
    FRAMEWORK = "keras"
    SUFFIXES = (SUFFIX,)
    LIMITS = "an edited copy of a .keras file: the weights that are there, in their shapes; layers can be renamed"
    DIMENSIONS = 32
    OPTIONS = frozenset({"like"})

    def recognises(self, path: Path) -> bool:
        """Return whether a file is a zip with a model's configuration and weights."""
        return is_archive(path)

    def open(self, path: Path) -> Hdf5Tensors:
        """List the weights by their logical names; raises as `read_archive` and `weights_in` do."""
        tree = read_archive(path)
        weights = in_order(archived_weights(path, tree), _config(path))
        return Hdf5Tensors(tree, {name: weight.path for name, weight in weights.items()})

    def save(self, tensors: Mapping[str, Tensor], path: Path, how: Writing = PLAIN) -> None:
        """Write an edited copy of an archive, and read it back.

        Raises:
            PlanError: as by `edited`, or the configuration does not allow a layer's new name.
        """
        like = like_of(path, how)
        if not is_archive(like):
            whole = is_whole_model(like)
            way_out = "; an import of it into itself makes one first" if whole else ""
            raise PlanError(
                f"{like} is not a .keras archive, and {path} is written as an edited copy of one (`like`){way_out}"
            )
        tree = read_archive(like)
        copy = edited(tree, archived_weights(like, tree), tensors, how)
        config = with_layer_names(_config(like), copy.renamed, like)
        with writing(path) as (_, weights):
            sums = write_tree(weights, copy.tensors, copy.attributes)
            weights.seek(0)
            with replacing(path, partial(self._check, copy, sums)) as file:
                _copy_archive(like, file, weights, config)

    def verify(self, path: Path) -> Iterator[Checked]:
        """Verify the zip's checksum of each member, and read every dataset if no member is damaged."""
        damaged = False
        infos = members(path).values()
        with opened(path) as whole:
            for info in infos:
                checked = Checked.of(info.filename, member_bytes(path, info, info.filename, whole))
                damaged = damaged or checked.problem is not None
                yield checked
        if not damaged:
            yield from self.open(path).checked()

    def _check(self, copy: EditedCopy, sums: Mapping[str, int], path: Path) -> None:
        problem = next((item.problem for item in self.verify(path) if item.problem), None)
        if problem:
            raise CorruptCheckpoint(problem)
        compare(read_archive(path), copy.tensors, sums)


def read_archive(path: Path) -> Tree:
    """List the datasets of an archive's weights, read in place, or from a temporary file if they are compressed.

    Raises:
        FormatError: the archive has no weights, or an unsafe member.
        CorruptCheckpoint: it is damaged.
    """
    stamp = stamp_of(path)  # before all that is read: `walk` finds whether the file is still that one
    names = members(path)
    if WEIGHTS not in names:
        raise FormatError(
            f"{path} has no {WEIGHTS}: its weights are in a form that is not supported ({', '.join(names)})"
        )
    info = names[WEIGHTS]
    if info.compress_type == zipfile.ZIP_STORED:
        member = MemberInPlace(path, info)
        if info.file_size <= SMALL:
            member.require_whole()
        return walk(Hdf5Source(path, info.file_size, member.start, stamp, member=member))
    unpacked = Unpacked(member_bytes(path, info, WEIGHTS))
    return walk(Hdf5Source(path, info.file_size, 0, stamp, unpacked))


def archived_weights(path: Path, tree: Tree) -> dict[str, Weight]:
    """Return the weights of an archive by their logical names; the configuration names layers that the weights do not.

    Raises:
        FormatError: two weights have one name.
    """
    config = _config(path)
    return weights_in(tree, layer_names(tree, config), weight_orders(config))


def _config(path: Path) -> bytes:
    """Return the bytes of the model's configuration, none if it is missing.

    Raises:
        FormatError: it is too large.
        CorruptCheckpoint: it is damaged.
    """
    info = members(path).get(CONFIG)
    if info and info.file_size > LARGEST:
        raise FormatError(
            f"{path}: {CONFIG}, which has the names and the order of the layers, has {info.file_size} bytes, at most "
            f"{LARGEST} are read; {WEIGHTS} in it can be extracted, and is read by itself"
        )
    return b"".join(member_bytes(path, info, CONFIG)) if info else b""


def _copy_archive(like: Path, file: BinaryIO, weights: BinaryIO, config: bytes) -> None:
    """Write the members of an archive in their order, with new weights and a new configuration."""
    with zipfile.ZipFile(file, "w") as out, opened(like) as whole:
        for name, info in members(like).items():
            new = zipfile.ZipInfo(name, info.date_time)
            new.external_attr, new.compress_type = info.external_attr, info.compress_type
            own = {WEIGHTS: iter(partial(weights.read, PIECE), b""), **({CONFIG: iter([config])} if config else {})}
            pieces = own.get(name) or member_bytes(like, info, name, whole)
            with out.open(new, "w", force_zip64=True) as member:
                for piece in pieces:
                    member.write(piece)
