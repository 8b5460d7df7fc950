"""The network in a Keras file (a `.keras`, or a whole model's `.h5`), read as data, without Keras.

    network = read_network(path)
    model = keras.saving.deserialize_keras_object(network.architecture)

`architecture` is in Keras 3's form, whichever version wrote the file, and has passed the gate: it names Keras's own
classes only. The values of the weights are read by `ckpttool.open(path)`. A weight's name joins the names of the layers
on its path and its own, `inner/in/kernel`; the path of a variable that Keras builds may lack the layers, so variables
are found by their layers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ckpttool.core.counts import counted
from ckpttool.core.errors import CorruptCheckpoint, FormatError, MissingFile
from ckpttool.formats.hdf5.tree import Tree, read_tree
from ckpttool.formats.hdf5.values import text_of
from ckpttool.formats.keras.archive import LARGEST
from ckpttool.formats.keras.connections import require_layers, require_order
from ckpttool.formats.keras.files import CONFIG, MODEL_CONFIG, is_archive
from ckpttool.formats.keras.gate import HELP, Place, UnsafeConfig, compile_gated, gated
from ckpttool.formats.keras.legacy import legacy_root
from ckpttool.formats.keras.upgrade import computed_from_file, is_old, upgraded
from ckpttool.formats.keras.upgrade_compile import compile_upgraded
from ckpttool.formats.reading.archive import member_bytes, members
from ckpttool.formats.wire import strict_json

METADATA = "metadata.json"
TRAINING = "training_config"
"""The attribute of a whole model's `.h5` with its compile config."""
ABOUT = ("keras_version", "backend")
"""The attributes of an `.h5` with the version of Keras and the backend that wrote it."""


@dataclass(frozen=True)
class Network:
    """A network as its file describes it.

    `architecture` is what `keras.saving.deserialize_keras_object` takes: `{"module", "class_name", "config", ...}`, of
    a Functional or a Sequential model, without a compile config. `compiled` is the compile config, in the form of
    `model.get_compile_config()`: `optimizer`, `loss`, `metrics`; None if the model was not compiled or its compile
    config cannot be used, and then `not_compiled` has the reason, without the path. `metadata` is the file's own:
    `keras_version`, `backend`, and in a `.keras` all of its `metadata.json`. `renamed` maps new names of layers to
    those in the file, which differ for names with slashes, as Keras 3 does not accept them.
    """

    path: Path
    architecture: Mapping[str, Any]
    compiled: Mapping[str, Any] | None
    metadata: Mapping[str, Any]
    not_compiled: str | None = None
    renamed: Mapping[str, str] = field(default_factory=dict)

    def compiled_with(self, compiled: Mapping[str, Any] | None, path: Path) -> "Network":
        """Return a copy with another compile config, checked against the lists; `path` is the file that contains it.

        Raises:
            FormatError: it refers to something that is not Keras's own.
        """
        held = compile_gated(compiled, Place(path)) if compiled else None
        return replace(self, path=path, compiled=held, not_compiled=None)


def read_network(path: Path) -> Network:
    """Read a file's network, and check it against the lists of Keras's own classes.

    Raises:
        MissingFile: the file does not exist.
        FormatError: it has weights only, or its network is not made of Keras's own classes or not safe to build.
        CorruptCheckpoint: it is damaged.
    """
    if not path.is_file():
        raise MissingFile(f"{path} is missing: no such file")
    config, training, metadata = _archived(path) if is_archive(path) else _attributes(path)
    if not isinstance(config, dict):
        raise FormatError(f"{path}: its config is not an object, and describes no network")
    version = str(metadata.get("keras_version"))
    if version[:2] in ("0.", "1."):
        raise FormatError(f"{path}: its network is of Keras {version}, whose layers Keras 3 does not have; {HELP}")
    architecture = gated({key: value for key, value in config.items() if key != "compile_config"}, Place(path))
    require_layers(architecture, Place(path))
    architecture = computed_from_file(architecture, Place(path))
    old, renamed = is_old(version), dict[str, str]()
    if old:
        architecture, renamed = upgraded(architecture, Place(path))
    require_order(architecture, Place(path))
    compiled, reason = _compiled(training, path, old)
    return Network(path, architecture, compiled, metadata, reason, renamed)


def network_of(architecture: Mapping[str, Any], compiled: Mapping[str, Any] | None, path: Path) -> Network:
    """Return the network of a config in Keras 3's form, found in a file `path` that is not Keras's.

    It is checked against the lists as one in a file is; raises as `read_network` does.
    """
    place = Place(path)
    held = gated(architecture, place)
    require_layers(held, place)
    require_order(held, place)
    return Network(path, held, None, {}).compiled_with(compiled, path)


def read_metadata(path: Path) -> Mapping[str, Any]:
    """Return the `metadata.json` of a `.keras`; an empty mapping for any other file.

    Raises:
        FormatError: the metadata cannot be read.
    """
    metadata = _member(path, METADATA) if is_archive(path) and METADATA in members(path) else {}
    return metadata if isinstance(metadata, dict) else {}


def _archived(path: Path) -> tuple[Any, Any, Mapping[str, Any]]:
    """Return the config, the compile config and the metadata of a `.keras`."""
    config = _member(path, CONFIG)
    training = config.get("compile_config") if isinstance(config, dict) else None
    return config, training, read_metadata(path)


def _member(path: Path, name: str) -> Any:
    info = members(path)[name]
    if info.file_size > LARGEST:
        raise UnsafeConfig(f"{path}: {name} has {counted(info.file_size, 'byte')}, at most {LARGEST} is allowed")
    return _parsed(b"".join(member_bytes(path, info, name)), f"{path}: {name}")


def _attributes(path: Path) -> tuple[Any, Any, Mapping[str, Any]]:
    """Return the config, the compile config and the metadata of an `.h5`.

    Raises:
        FormatError: it has weights only.
    """
    tree = read_tree(path)
    own = tree.attributes[""]
    if MODEL_CONFIG not in own:
        what = "weights only, and no network" if _has_weights(tree) else "no network of Keras"
        raise FormatError(f"{path} has {what}: `import(into)` puts its weights into a model that has one")
    texts = {key: text_of(own[key]) for key in (MODEL_CONFIG, TRAINING, *ABOUT) if key in own}
    config, training = (
        _parsed(texts[key].encode(), f"{path}: {key}") if key in texts else None for key in (MODEL_CONFIG, TRAINING)
    )
    return config, training, {key: texts[key] for key in ABOUT if key in texts}


def _has_weights(tree: Tree) -> bool:
    return legacy_root(tree) is not None or bool(tree.tensors)


def _parsed(text: bytes, what: str) -> Any:
    if len(text) > LARGEST:
        raise UnsafeConfig(f"{what} has {counted(len(text), 'byte')}, at most {LARGEST} is allowed")
    try:
        return strict_json.parse(text)
    except ValueError as error:
        raise CorruptCheckpoint(f"{what} is damaged: {error}") from error


def _compiled(training: Any, path: Path, old: bool) -> tuple[Mapping[str, Any] | None, str | None]:
    """Return the compile config, or why it cannot be used: custom losses do not prevent reading a model."""
    if not training or not isinstance(training, dict):
        return None, None
    config = {key: value for key, value in training.items() if key != "optimizer_config"}
    if "optimizer_config" in training:
        config["optimizer"] = training["optimizer_config"]
    try:
        return compile_gated(compile_upgraded(config) if old else config, Place(path)), None
    except UnsafeConfig:
        raise
    except FormatError as error:
        return None, str(error).removeprefix(f"{path}: ").removesuffix(f"; {HELP}")
