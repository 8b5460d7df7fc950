"""Which files are Keras's, as far as their first bytes and a zip's list of members tell: before HDF5 is read."""

from pathlib import Path

from ckpttool.formats.hdf5.source import is_hdf5
from ckpttool.formats.keras.scheme import is_application
from ckpttool.formats.reading.archive import is_zip, member_names

CONFIG = "config.json"
"""The member of an archive that describes its network."""
SUFFIX = ".keras"
MODEL_CONFIG = "model_config"
"""The attribute of a whole model's `.h5` that has its configuration."""


def is_archive(path: Path) -> bool:
    """Return whether a file is a zip with a model's configuration in it, or one that is damaged and named so."""
    if not is_zip(path):
        return False
    names = member_names(path)
    return path.name.endswith(SUFFIX) if names is None else CONFIG in names


def is_keras_file(path: Path) -> bool:
    """Return whether a file is one that Keras writes, be it a whole model or weights alone: by what is in it."""
    return path.is_file() and (is_archive(path) or is_hdf5(path))


def is_whole_model(path: Path) -> bool:
    """Return whether a file is a Keras model with its network: by what is in it, for suffixes lie."""
    if is_archive(path):
        return True
    if not is_hdf5(path):
        return False
    from ckpttool.formats.hdf5.tree import read_tree  # with NumPy, which other files do without

    return MODEL_CONFIG in read_tree(path).attributes[""]


def opens_with_keras(path: Path | str) -> bool:
    """Return whether a path is a file that Keras writes, or names one of its architectures."""
    return is_application(path) or is_keras_file(Path(path))
