"""Recognising Keras files by their first bytes and a zip's list of members, without reading HDF5."""

from pathlib import Path

from ckpttool.formats.hdf5.source import is_hdf5
from ckpttool.formats.keras.scheme import is_application
from ckpttool.formats.reading.archive import is_zip, member_names

CONFIG = "config.json"
"""The member of an archive that describes its network."""
SUFFIX = ".keras"
MODEL_CONFIG = "model_config"
"""The attribute of a whole model's `.h5` with its config."""


def is_archive(path: Path) -> bool:
    """Return whether a file is a zip with a model's config, or a damaged one with the suffix `.keras`."""
    if not is_zip(path):
        return False
    names = member_names(path)
    return path.name.endswith(SUFFIX) if names is None else CONFIG in names


def is_keras_file(path: Path) -> bool:
    """Return whether the content of a file is a Keras model or Keras weights."""
    return path.is_file() and (is_archive(path) or is_hdf5(path))


def is_whole_model(path: Path) -> bool:
    """Return whether the content of a file is a Keras model with its network, regardless of its suffix."""
    if is_archive(path):
        return True
    if not is_hdf5(path):
        return False
    from ckpttool.formats.hdf5.tree import read_tree  # imports NumPy, which other files do not need

    return MODEL_CONFIG in read_tree(path).attributes[""]


def opens_with_keras(path: Path | str) -> bool:
    """Return whether a path is a Keras file, or the name of a Keras architecture."""
    return is_application(path) or is_keras_file(Path(path))
