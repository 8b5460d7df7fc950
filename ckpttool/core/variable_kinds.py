"""Kinds of a checkpoint's tensors by their names alone: weights, optimizer slots, step counters.

A graph gives more reliable answers (`graph/contents/variables.py` asks it first); this is for checkpoints without one.
"""

import re
from collections.abc import Collection, Container
from typing import Literal

VariableKind = Literal["weight", "slot", "step"]
TensorKind = VariableKind | Literal["object-graph"]

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
OBJECT_VALUE = "/.ATTRIBUTES/"
"""The suffix after an object's path in the keys of an object checkpoint (`tf.train.Checkpoint`)."""

AVERAGE = "ExponentialMovingAverage"
"""The last component of the name of a weight's moving average in TensorFlow 1."""

START = "Start"
"""The last component of the name of a weight's values at the start of a run, which `l2_sp` pulls it towards."""

RATE_FACTOR = "learning_rate/factor"
"""The name of the factor by which a performance schedule of ckpttool has reduced the learning rate so far."""

_STEPS = re.compile(r"(global_step|step|save_counter|iter|iterations?|_iterations)(_\d+)?")
_POWERS = re.compile(r"beta[12]_power(_\d+)?")
# The last component of a slot's name, below the name of the variable that it belongs to: TensorFlow 1's optimizers,
# Keras's (m, v, ...), BERT's (adam_m), moving averages and their bias correction, the values at a run's start.
_SLOTS = re.compile(
    r"(Momentum|AdamW?|AdaMax|RMSProp|RMSprop|Adagrad|AdagradDA|Adadelta|Ftrl|AddSign|PowerSign|LAMB|LARS"
    r"|ExponentialMovingAverage|Start|m|v|vhat|rms|mg|momentum|velocity|velocity_hat|norm|average|average_gradient"
    r"|accumulator|linear|accum_grad|accum_var|accumulated_grad|accumulated_delta_var"
    r"|adam_m|adam_v|biased|local_step)(_\d+)?"
)
_OPTIMIZER = re.compile(r"_?(\w*optimizer|(\w*_)?opt(im)?)(_\d+)?", re.IGNORECASE)
_HYPERPARAMETER = re.compile(
    r"(.*/)?(?i:Adam|AdamW|Adamax|Nadam|SGD|RMSprop|Adagrad|Adadelta|Ftrl|Lion|LAMB)(_\d+)?"
    r"/(beta_1|beta_2|epsilon|learning_rate|lr|decay|momentum|rho)|learning_rate"
)
# Keras since TensorFlow 2.11 puts the slot's name before the variable's: Adam/m/dense/kernel.
_SLOT_SCOPE = re.compile(
    r"(?:.*/)?(?:Adam|AdamW|Adamax|Nadam|SGD|RMSprop|Adagrad|Adadelta|Ftrl|Lion)(?:_\d+)?/\w+/(.+)"
)
_AVERAGES = (AVERAGE, "average")
_PARTITION = re.compile(r"/part_\d+$")


def kind_of_name(name: str, all_names: Container[str]) -> TensorKind:
    """Return the kind of a tensor; a slot name counts as one only if its variable is in the checkpoint too.

    `all_names` are the names of the whole checkpoint, best as a set. TensorFlow 2's object graph has a kind of its
    own.

    >>> names = {"hidden1/kernel", "train/hidden1/kernel/Adam_1", "beta1_power", "global_step", "memory/Momentum"}
    >>> [kind_of_name(name, names) for name in sorted(names)]
    ['slot', 'step', 'weight', 'weight', 'slot']
    """
    if name == OBJECT_GRAPH:
        return "object-graph"
    if OBJECT_VALUE in name:
        return _kind_of_object(name.partition(OBJECT_VALUE)[0].split("/"))
    last = name.rpartition("/")[2]
    if _STEPS.fullmatch(last) or name == RATE_FACTOR:
        return "step"
    if _POWERS.fullmatch(last) or _HYPERPARAMETER.fullmatch(name) or base_name(name, all_names) is not None:
        return "slot"
    return "weight"


def kinds(names: Collection[str]) -> dict[str, TensorKind]:
    """Return the kinds of all names of a checkpoint."""
    known = frozenset(names)
    return {name: kind_of_name(name, known) for name in names}


def base_name(name: str, all_names: Container[str]) -> str | None:
    """Return the variable that a slot name belongs to, or None if it is a slot of none of them.

    Optimizers made inside a scope prepend it to the variable's name, so leading components may be omitted.

    >>> base_name("dnn/train/hidden1/kernel/Adam", {"hidden1/kernel"})
    'hidden1/kernel'
    """
    scoped = _SLOT_SCOPE.fullmatch(name)
    if scoped and scoped[1] in all_names:
        return scoped[1]
    base, _, last = name.rpartition("/")
    if not _SLOTS.fullmatch(last):
        return None
    for candidate in (base, _PARTITION.sub("", base)):
        parts = candidate.split("/")
        for start in range(len(parts)):
            tail = "/".join(parts[start:])
            if tail and tail in all_names:
                return tail
    return None


def is_average(slot: str) -> bool:
    """Return whether a slot name is that of the moving averages of its variable.

    >>> is_average("fc/kernel/ExponentialMovingAverage"), is_average("fc/kernel/Momentum")
    (True, False)
    """
    return slot.rpartition("/")[2].startswith(_AVERAGES)


def is_start(name: str) -> bool:
    """Return whether a slot name is that of its variable's values at the start of a run.

    >>> is_start("fc/kernel/Start"), is_start("Start")
    (True, False)
    """
    return name.endswith(f"/{START}")


def _kind_of_object(path: list[str]) -> TensorKind:
    """Return the kind of a value in an object checkpoint by its path of attributes."""
    if ".OPTIMIZER_SLOT" in path:
        return "slot"
    if _STEPS.fullmatch(path[-1]):
        return "step"
    # Keras 3 optimizers also refer to the model's weights, which may be stored under no other path.
    if "_trainable_variables" in path or not any(_OPTIMIZER.fullmatch(part) for part in path[:-1]):
        return "weight"
    return "slot"
