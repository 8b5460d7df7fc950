"""Keras configs: code, classes that are not Keras's own, and strings that refer to files; checked with the gate."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ckpttool.core.errors import FormatError
from ckpttool.formats.keras.classes import (
    CLASSES,
    FUNCTION_MODULES,
    LITERALS,
    MODELS,
    NAMES,
    OLD,
    REFUSED,
    WITHOUT_CODE,
)
from ckpttool.formats.keras.gate import FILES, LARGEST, WORDS, Place, UnsafeConfig, gated
from ckpttool.scanning.finding import Finding

HELP = "its weights are read nevertheless, by `import`; Keras itself runs or looks up what is named here"
_CODE = (
    *("Lambda", "__lambda__", "TorchModuleWrapper", "JaxLayer", "FlaxLayer"),
    *("TFSMLayer", "TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"),
)
"""Classes that contain code, or call code by name."""
_REASONS = dict.fromkeys(("Lambda", "__lambda__"), "it contains Python code, which Keras runs unless in safe mode")
_KERAS = ("keras", "tf_keras", "tensorflow.keras", "tensorflow.python.keras", "builtins")
_LISTED = frozenset(MODELS).union(*CLASSES.values(), OLD, REFUSED, WITHOUT_CODE, ("Policy", "PolicyV1"))
"""Keras's own classes, of this and other versions."""
MOST = 1_000_000
"""The maximum number of values of a config that are examined."""


def config_findings(config: Any, path: Path, where: str) -> Iterator[Finding]:
    """Yield what Keras would run, look up or open in the config of a network, including its compile config."""
    found = list(_objects(config, path, where))
    yield from found
    if found:
        return
    architecture = (
        {key: value for key, value in config.items() if key != "compile_config"} if isinstance(config, dict) else {}
    )
    try:
        gated(architecture, Place(path))
    except UnsafeConfig as error:
        reason = str(error).removeprefix(f"{path}: ")
        yield Finding(path, "keras/code", where, "config", "medium", reason, HELP)
    except (FormatError, KeyError, TypeError, AttributeError):
        pass  # a network that cannot be built cannot act


def _objects(config: Any, path: Path, where: str) -> Iterator[Finding]:
    """Yield findings for each object of a config, by its class, its module and its strings."""
    todo: list[tuple[Any, str, str]] = [(config, where, "")]
    count = 0
    while todo:
        value, place, key = todo.pop()
        count += 1
        if count > MOST:
            yield Finding(path, "keras/code", where, "config", "medium", f"it has more than {MOST} values", HELP)
            return
        if isinstance(value, Mapping):
            inner = value.get("config")
            if isinstance(inner, Mapping) and isinstance(inner.get("name"), str) and "class_name" in value:
                place = f"{where}: {inner['name']}"
            yield from _object(value, path, place)
            todo += [(each, place, str(name)) for name, each in value.items()]
        elif isinstance(value, list):
            words = key in WORDS and all(isinstance(each, str | int | float) for each in value)
            todo += [] if words else [(each, place, key) for each in value]
        elif isinstance(value, str) and (why := _leads(value, key)):
            yield Finding(path, "keras/path", place, f"{key} = {value[:200]}", "medium", why, HELP)
        elif isinstance(value, int) and abs(value) >= LARGEST and key.endswith(("units", "filters", "dim", "shape")):
            yield Finding(
                path, "keras/code", place, f"{key} = {value}", "low", "it would use all available memory", HELP
            )


def _object(value: Mapping[str, Any], path: Path, place: str) -> Iterator[Finding]:
    name, module, registered = (value.get(key) for key in ("class_name", "module", "registered_name"))
    if not isinstance(name, str) or (name in LITERALS and name != "__lambda__"):
        return
    own = str(registered or name).removeprefix("Custom>") in CLASSES["keras.optimizers"]
    if name in _CODE:
        yield Finding(path, "keras/code", place, name, "high", _REASONS.get(name, REFUSED[name]), HELP)
    elif name == "function":
        called = value.get("config")
        if not isinstance(called, str) or not any(called in NAMES[each] for each in FUNCTION_MODULES):
            said = f"{module}.{called}" if module else str(called)
            reason = "it is called by its name, and is not one of Keras's activations, losses or metrics"
            yield Finding(path, "keras/code", place, said[:200], "high", reason, HELP)
    elif not own and (registered not in (None, name) or ">" in name or not _is_keras(module) or name not in _LISTED):
        said = str(registered or (f"{module}.{name}" if module else name))
        reason = "it is looked up by this name in the program that loads the file, and its code is run"
        yield Finding(path, "keras/class", place, said[:200], "medium", reason, HELP)


def _leads(text: str, key: str) -> str | None:
    """Return the reason if a string refers to a file or server, else None."""
    if key in FILES:
        return f"Keras would read its {key} from there"
    if "://" in text:
        return "it is the address of a server or a file"
    return (
        "it is a path of the machine that opens it" if text.startswith(("/", "\\\\", "~/")) and key != "name" else None
    )


def _is_keras(module: Any) -> bool:
    return module is None or any(str(module) == each or str(module).startswith(f"{each}.") for each in _KERAS)
