"""The ops with which optimizers change variables, and the slots that they take (after TensorFlow's training_ops.cc)."""

import re

APPLY = re.compile(r"(?:Resource)?(?:Sparse)?Apply(?P<optimizer>[A-Z]\w*)")
"""The types of such ops: `ApplyMomentum`, `ResourceSparseApplyMomentum`."""

SLOTS = {
    "GradientDescent": 0,
    "ProximalGradientDescent": 0,
    "Momentum": 1,
    "KerasMomentum": 1,
    "Adagrad": 1,
    "AdagradV2": 1,
    "ProximalAdagrad": 1,
    "AddSign": 1,
    "PowerSign": 1,
    "AdagradDA": 2,
    "Adadelta": 2,
    "Ftrl": 2,
    "FtrlV2": 2,
    "RMSProp": 2,
    "Adam": 2,
    "AdaMax": 2,
    "CenteredRMSProp": 3,
    "AdamWithAmsgrad": 3,
}
"""How many slots an op changes along with the variable, which it takes first."""

POWERS = {"Adam": 2, "AdamWithAmsgrad": 2, "AdaMax": 1}
"""How many powers of its betas an op reads behind these; they are slots too, which another op changes."""
