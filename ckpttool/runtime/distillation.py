"""Distillation (Hinton et al. 2015): a loss that compares the logits with a teacher's, at a temperature."""

from dataclasses import dataclass
from typing import Any

from ckpttool.core.calls import above_zero, require
from ckpttool.runtime.configure import tensorflow

TAUGHT = "teacher/logits:0"
"""The placeholder for the teacher's logits in graphs that are trained with a teacher."""


@dataclass(frozen=True)
class Distillation:
    """A distillation: the temperature, and the weight of the teacher's part of the loss.

    For a softmax cross entropy, distributions over classes are compared; for binary labels (`sigmoid`), the
    probability of each.

    Raises:
        PlanError: the temperature or the weight is invalid.
    """

    logits: str
    kind: str
    temperature: float = 2.0
    weight: float = 0.5

    def __post_init__(self) -> None:
        """Validate the temperature and the weight."""
        above_zero("`temperature`", self.temperature)
        require("`teacher_weight`", self.weight, 0 < self.weight <= 1, "above 0 and at most 1")

    def blended(self, loss: Any, logits: Any) -> Any:
        """Return (1 - weight) * loss + weight * temperature^2 * cross entropy with the teacher's distributions."""
        tf = tensorflow()
        taught = tf.compat.v1.placeholder(tf.float32, logits.shape, name=TAUGHT.removesuffix(":0"))
        with tf.name_scope("distillation/"):
            soft, own = taught / self.temperature, tf.cast(logits, tf.float32) / self.temperature
            if self.kind == "softmax":
                each = tf.nn.softmax_cross_entropy_with_logits(labels=tf.nn.softmax(soft), logits=own)
            else:
                each = tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.nn.sigmoid(soft), logits=own)
            part = self.weight * self.temperature**2 * tf.reduce_mean(each)
            return (1 - self.weight) * loss + tf.cast(part, loss.dtype)
