"""Controlling how Keras builds models: without values, and with given names and seeds; and reasons of failures."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ckpttool.runtime.configure import keras

MOST_SAID = 500
"""The maximum number of characters of Keras's reasons that are shown: some contain a whole config."""


@contextmanager
def variables_without_values() -> Iterator[None]:
    """Build models within the block without values of variables, so that none is drawn, and no memory is allocated.

    Needs `StatelessScope(initialize_variables=False)`, and the list of variables that Keras initialises later.
    """
    state = global_state()
    before = list(state.get_global_attribute("uninitialized_variables") or [])
    try:
        with keras().StatelessScope(initialize_variables=False):
            yield
    finally:
        state.set_global_attribute("uninitialized_variables", before)


@contextmanager
def names_as_in_a_new_process() -> Iterator[None]:
    """Count the default names of layers within the block from the first, regardless of layers built before.

    Needs the counts that `auto_name` keeps.
    """
    state = global_state()
    before = state.get_global_attribute("object_name_uids")
    state.set_global_attribute("object_name_uids", defaultdict(int))
    try:
        yield
    finally:
        state.set_global_attribute("object_name_uids", before)


@contextmanager
def drawing_seeds(generator: Any) -> Iterator[None]:
    """Draw the seeds of objects without a specified seed from a generator within the block.

    Needs the global attribute `global_seed_generator`, which `keras.random` uses.
    """
    from keras.src.random.seed_generator import GLOBAL_SEED_GENERATOR

    state = global_state()
    before = state.get_global_attribute(GLOBAL_SEED_GENERATOR)
    state.set_global_attribute(GLOBAL_SEED_GENERATOR, generator)
    try:
        yield
    finally:
        state.set_global_attribute(GLOBAL_SEED_GENERATOR, before)


def global_state() -> Any:
    """Return the module with Keras's global state."""
    keras()  # raises an error with the remedy if Keras is not installed
    from keras.src.backend.common import global_state as state

    return state


def initializer_of(variable: Any) -> Callable[..., Any]:
    """Return the initializer of a variable without a value, a function of a shape and a dtype.

    Needs `Variable._initializer`.
    """
    initializer: Callable[..., Any] = variable._initializer
    return initializer


def reason_of(error: Exception) -> str:
    """Return the cause in a Keras error, in one line, without the enclosing layers.

    Needs the cause to be in bold if a call fails, and after `Exception encountered` if building fails.
    """
    text = str(error).rpartition("Exception encountered: ")[2]
    bold = re.search(r"\x1b\[1m(.*?)\x1b\[0m", text, re.DOTALL)
    return " ".join((bold[1] if bold else text).split())[:MOST_SAID]
