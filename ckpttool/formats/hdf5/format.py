"""HDF5 trees: any file of datasets in groups, where a tensor's name is its path."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from ckpttool.core.errors import FormatError
from ckpttool.core.tensors import Tensor
from ckpttool.formats.format import PLAIN, Format, Writing
from ckpttool.formats.hdf5.source import is_hdf5
from ckpttool.formats.hdf5.tree import Hdf5Tensors, Tree, read_tree
from ckpttool.formats.hdf5.values import text_of
from ckpttool.formats.hdf5.writer import LOSES, compare, name_and_scope, write_tree
from ckpttool.formats.keras.legacy import legacy_root
from ckpttool.formats.keras.names import is_numbered
from ckpttool.formats.writing.files import replacing

SUFFIX = ":0"
"""The suffix of variables' names in TensorFlow 1 and Keras 2, which checkpoints do not have."""
MOST_TEXTS = 2000
"""The maximum number of texts of the metadata: HDF5 searches all attributes of an object before it adds one."""


class Hdf5(Format):
    """HDF5 files of any program."""

    NAME = "hdf5"
    CHECKSUMS = False
    SUFFIXES = (".h5", ".hdf5")
    LIMITS = "stores every dtype but resources and variants; names are paths of groups; there are no checksums"
    DIMENSIONS = 32
    METADATA = True
    LOSES = LOSES

    def recognises(self, path: Path) -> bool:
        """Return whether a file is HDF5 in none of Keras's layouts."""
        return is_hdf5(path) and _is_plain(read_tree(path))

    def open(self, path: Path) -> Hdf5Tensors:
        """List the datasets by their paths, without a final `:0`; attributes that are single texts become metadata."""
        tree = read_tree(path)
        paths: dict[str, str] = {}
        for dataset in tree.tensors:
            name = dataset.removesuffix(SUFFIX)
            if name in paths:
                raise FormatError(f"{path}: {name} and {name}{SUFFIX} would both be named {name}")
            paths[name] = dataset
        texts = {key: text_of(text) for key, text in tree.attributes[""].items() if isinstance(text, bytes | str)}
        return Hdf5Tensors(tree, paths, texts)

    def save(self, tensors: Mapping[str, Tensor], path: Path, how: Writing = PLAIN) -> None:
        """Write a dataset for each tensor and a file attribute for each text of the metadata, and read all back.

        If a name is also a scope of others, as a variable's is of its slots, or ends with `:0`, all names are written
        as TensorFlow names tensors, with `:0` at the end.

        Raises:
            FormatError: HDF5 cannot store a tensor or a name, there are more texts than `MOST_TEXTS`, or the file would
                be read as one of Keras.
        """
        if len(how.metadata) > MOST_TEXTS:
            raise FormatError(
                f"the metadata has {len(how.metadata)} texts, HDF5 stores at most {MOST_TEXTS}; `to` "
                "safetensors stores all"
            )
        if name_and_scope(tensors) or any(name.endswith(SUFFIX) for name in tensors):
            tensors = {f"{name}{SUFFIX}": tensor for name, tensor in tensors.items()}
        sums: dict[str, int] = {}
        with replacing(path, partial(_check, tensors, sums)) as file:
            sums.update(write_tree(file, tensors, {"": how.metadata}))


def _is_plain(tree: Tree) -> bool:
    return legacy_root(tree) is None and not is_numbered(tree)


def _check(tensors: Mapping[str, Tensor], sums: Mapping[str, int], path: Path) -> None:
    tree = read_tree(path)
    compare(tree, tensors, sums)
    if not _is_plain(tree):
        raise FormatError(
            "with these names it would be read as a file of Keras; rename those with `vars` or `layer_names`"
        )
