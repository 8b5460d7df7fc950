"""The lists of Keras's own classes, compared with the installed Keras."""

import importlib
import inspect

import pytest

from ckpttool.formats.keras.classes import CLASSES, FUNCTION_MODULES, MODELS, NAMES, OPERATIONS, REFUSED, WITHOUT_CODE

ABSTRACT = {"Constraint", "Initializer", "LearningRateSchedule", "Loss", "Metric", "Optimizer", "QuantizationConfig"}
ABSTRACT |= {"InputSpec", "OptimizerMap", "Quantizer", "Regularizer"}
"""Classes that are in no config: base classes and helpers."""


@pytest.fixture(scope="module")
def keras():
    from ckpttool.runtime.configure import tensorflow

    tensorflow()
    import keras

    return keras


@pytest.mark.parametrize("module", [each for each in CLASSES if "src" not in each and each != "keras.random"])
def test_every_public_class_is_listed_or_refused(keras, module):
    public = importlib.import_module(module)
    found = {name for name in dir(public) if inspect.isclass(getattr(public, name))}
    aliases = {name for name in found if name.islower()}
    assert found - ABSTRACT - set(REFUSED) - aliases == CLASSES[module] - aliases


def test_every_operation_is_listed_or_refused(keras):
    from keras.src.ops.operation import Operation

    found, todo = {}, [Operation]
    while todo:
        for each in todo.pop().__subclasses__():
            todo.append(each)
            if each.__module__.startswith(OPERATIONS) and each.__name__ != "Function":
                found.setdefault(each.__module__, set()).add(each.__name__)
    assert set().union(*found.values()) & WITHOUT_CODE == WITHOUT_CODE
    listed = {module: CLASSES[module] for module in CLASSES if module.startswith(OPERATIONS)}
    assert {module: names - WITHOUT_CODE for module, names in found.items() if names - WITHOUT_CODE} == listed


@pytest.mark.parametrize("module", list(CLASSES))
def test_keras_finds_every_class_in_its_module(keras, module):
    from keras.src.saving.serialization_lib import _retrieve_class_or_fn

    public = importlib.import_module(module if "src" in module else module.replace("keras.", "keras.src."))
    known = vars(public).get("ALL_OBJECTS_DICT", {})  # what Keras looks up first if it knows the kind
    for name in CLASSES[module]:
        assert inspect.isclass(known.get(name) or _retrieve_class_or_fn(name, None, module, "class", {})), name


def test_keras_finds_the_models(keras):
    for name in ("Functional", "Sequential"):
        assert importlib.import_module(MODELS[name]).__dict__[name].__name__ == name


@pytest.mark.parametrize("module", list(NAMES))
def test_every_name_is_one_that_keras_knows(keras, module):
    known = importlib.import_module(module.replace("keras.", "keras.src.")).ALL_OBJECTS_DICT
    if module == "keras.activations":
        assert set(known) == NAMES[module]
    else:
        assert set(known) <= NAMES[module] | CLASSES[module] | ABSTRACT
        assert NAMES[module] <= set(known) | {"acc", "accuracy", "ce", "crossentropy"}


def test_functions_are_found_by_keras(keras):
    from keras.src.saving.serialization_lib import deserialize_keras_object

    for module in FUNCTION_MODULES:
        for name in NAMES[module]:
            function = getattr(importlib.import_module(module), name, None)
            if inspect.isfunction(function) and function.__name__ == name:
                config = {"module": "builtins", "class_name": "function", "config": name, "registered_name": "function"}
                assert callable(deserialize_keras_object(config)), name
