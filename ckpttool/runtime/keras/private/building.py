"""How Keras builds models: without values, with names and seeds that are told; and the reason where it cannot."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ckpttool.runtime.configure import keras

MOST_SAID = 500
"""Letters of Keras's reasons that are shown: some repeat a whole config."""


@contextmanager
def variables_without_values() -> Iterator[None]:
    """Let models that are built within have variables without values, so that none is drawn and no memory is taken.

    Needs `StatelessScope(initialize_variables=False)`, and the list of what Keras is to initialise later.
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
    """Let layers that Keras names by how many there are be counted from the first, whatever was built before.

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
    """Let what has no seed of its own draw it from a generator.

    Needs the global attribute `global_seed_generator`, which `keras.random` asks.
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
    """Return the module in which Keras keeps what is known in all of a process."""
    keras()  # says what to install where it is missing
    from keras.src.backend.common import global_state as state

    return state


def initializer_of(variable: Any) -> Callable[..., Any]:
    """Return what draws the value of a variable that has none yet, of a shape and a dtype.

    Needs `Variable._initializer`.
    """
    initializer: Callable[..., Any] = variable._initializer
    return initializer


def reason_of(error: Exception) -> str:
    """Return in one line what an error of Keras says, without the layers that it passed on its way.

    Needs that Keras has the cause in bold where a call fails, and behind `Exception encountered` where building does.
    """
    text = str(error).rpartition("Exception encountered: ")[2]
    bold = re.search(r"\x1b\[1m(.*?)\x1b\[0m", text, re.DOTALL)
    return " ".join((bold[1] if bold else text).split())[:MOST_SAID]
