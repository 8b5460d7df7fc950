"""Restricted Boltzmann machines: a layer is trained to model the distribution of the rows."""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from ckpttool.core.calls import require
from ckpttool.core.errors import PlanError
from ckpttool.runtime.configure import tensorflow
from ckpttool.runtime.pretraining.method import Judged, Method, Place

_KERNEL_OF_ROWS = 2
"""The rank of the kernel of a dense layer."""


@dataclass(frozen=True)
class Rbm(Method):
    """A restricted Boltzmann machine of each dense sigmoid layer in turn, by contrastive divergence (Hinton 2002).

    Rows are contrasted with samples after `steps` of Gibbs sampling, which starts from the rows or, with
    `chains`, from this number of persistent chains (Tieleman 2008). `visible` units are bernoulli, for values
    from 0 to 1, or gaussian with variance 1, for standardised values; those of layers above the first are bernoulli.
    """

    name = "rbm"
    steps: int = 1
    chains: int = 0
    visible: Literal["bernoulli", "gaussian"] = "bernoulli"
    layerwise: ClassVar[bool] = True
    helps: ClassVar[str] = "a lower `lr`, or rows from 0 to 1"

    def __post_init__(self) -> None:
        """Validate the parameters."""
        require("steps", self.steps, self.steps >= 1, "a whole number above 0")
        require("chains", self.chains, self.chains >= 0, "a whole number not below 0")

    @property
    def measure(self) -> str:
        """A description of the loss, since the likelihood cannot be computed."""
        return "negative pseudo-likelihood" if self.visible == "bernoulli" else "reconstruction error"

    def judged(self, place: Place, seen: Any) -> Judged:
        """Return the loss of the machine on rows; its gradient is that of contrastive divergence.

        The difference between the free energies of rows and samples has this gradient, but no meaning as a
        number: its value is subtracted, so that the loss is the measure.
        """
        tf = tensorflow()
        machine = Machine.of(place, self.visible == "gaussian" and place.given.op.type == "Placeholder")
        rows = machine.state(seen)
        start = machine.chains(self.chains) if self.chains else rows
        sampled = machine.sampled(start, self.steps)
        if self.chains:
            update = start.visible.assign(sampled.visible, read_value=False)
            tf.compat.v1.add_to_collection("update_ops", update)
        divergence = tf.reduce_mean(machine.energy(rows)) - tf.reduce_mean(machine.energy(sampled))
        is_likely = self.visible == "bernoulli"
        measure = -machine.pseudo_likelihood(rows) if is_likely else machine.error(rows)
        loss = tf.stop_gradient(measure - divergence) + divergence
        return Judged(loss, made_again=machine.made(place.outputs))


@dataclass(frozen=True)
class State:
    """Visible units, and the inputs of the hidden units."""

    visible: Any
    inputs: Any


@dataclass(frozen=True)
class Machine:
    """A restricted Boltzmann machine: the weights between visible and hidden units, and their biases."""

    kernel: Any
    hidden: Any
    visible: Any
    gaussian: bool

    @classmethod
    def of(cls, place: Place, gaussian: bool) -> "Machine":
        """Return the machine of a layer, with a bias for each of its inputs.

        Raises:
            PlanError: the layer is not dense, or not of sigmoid units with biases.
        """
        (layer,) = place.layers
        if layer.kernel.shape.rank != _KERNEL_OF_ROWS or layer.bias is None or place.outputs.op.type != "Sigmoid":
            name = layer.kernel.op.name.rpartition("/")[0]
            raise PlanError(f"rbm trains layers such as dense(100, sigmoid) with biases, {name} is none")
        tf1 = tensorflow().compat.v1
        visible = tf1.get_variable("visible/bias", place.given.shape[-1:], initializer=tf1.zeros_initializer())
        return cls(layer.kernel, layer.bias, visible, gaussian)

    def state(self, visible: Any) -> State:
        """Return rows of visible units with the inputs of the hidden units."""
        tf = tensorflow()
        return State(visible, tf.nn.bias_add(tf.matmul(visible, self.kernel), self.hidden))

    def chains(self, count: int) -> State:
        """Return persistent chains, which start with all units off and continue from batch to batch."""
        tf1 = tensorflow().compat.v1
        shape = [count, self.kernel.shape[0]]
        return self.state(tf1.get_variable("chains", shape, initializer=tf1.zeros_initializer(), trainable=False))

    def made(self, hidden: Any) -> Any:
        """Return the mean of the visible units."""
        tf = tensorflow()
        inputs = tf.nn.bias_add(tf.matmul(hidden, self.kernel, transpose_b=True), self.visible)
        return inputs if self.gaussian else tf.sigmoid(inputs)

    def sampled(self, state: State, steps: int) -> State:
        """Return the state after steps of Gibbs sampling; gradients are not propagated through samples."""
        tf = tensorflow()
        for _ in range(steps):
            mean = self.made(_drawn(tf.sigmoid(state.inputs)))
            visible = mean + tf.random.normal(tf.shape(mean)) if self.gaussian else _drawn(mean)
            state = self.state(tf.stop_gradient(visible))
        return state

    def energy(self, state: State) -> Any:
        """Return the free energy of each row (Hinton 2012, section 16.1)."""
        tf = tensorflow()
        hidden = tf.reduce_sum(tf.nn.softplus(state.inputs), 1)
        if self.gaussian:
            return tf.reduce_sum(tf.math.squared_difference(state.visible, self.visible), 1) / 2 - hidden
        return -tf.linalg.matvec(state.visible, self.visible) - hidden

    def pseudo_likelihood(self, rows: State) -> Any:
        """Return the mean pseudo-log-likelihood of rows, estimated by flipping one unit of each (Besag 1975)."""
        tf = tensorflow()
        units = self.kernel.shape[0]
        places = tf.random.uniform(tf.shape(rows.visible)[:1], 0, units, tf.int32)
        change = 1 - 2 * tf.gather(rows.visible, places, batch_dims=1)
        hidden = rows.inputs + change[:, tf.newaxis] * tf.gather(self.kernel, places)
        softer = tf.reduce_sum(tf.nn.softplus(rows.inputs) - tf.nn.softplus(hidden), 1)
        surer = softer - change * tf.gather(self.visible, places)
        return units * tf.reduce_mean(-tf.nn.softplus(-surer))

    def error(self, rows: State) -> Any:
        """Return the mean squared reconstruction error of rows."""
        tf = tensorflow()
        made = self.made(tf.sigmoid(rows.inputs))
        return tf.reduce_mean(tf.math.squared_difference(made, rows.visible))


def _drawn(probabilities: Any) -> Any:
    """Return units that are randomly on with given probabilities."""
    tf = tensorflow()
    return tf.cast(tf.random.uniform(tf.shape(probabilities)) < probabilities, probabilities.dtype)
