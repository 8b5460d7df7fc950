"""The layers of a network, and which of them are trained."""

from ckpttool.runtime.keras.private.walking import (
    is_network,
    layers_within,
    set_trainable_alone,
    takes_training,
    trainable_restored,
)
from tests.runtime.keras.networks import NETWORKS


def test_what_a_layer_is_made_of_and_depends_on_is_told() -> None:
    model = NETWORKS["penalised"]()
    norm = model.get_layer("norm")

    assert is_network(NETWORKS["nested"]().get_layer("inner"))
    assert not is_network(norm)
    assert layers_within(model)[0] is model
    assert takes_training(norm)
    assert not takes_training(model.get_layer("conv"))


def test_what_is_trained_is_restored() -> None:
    model = NETWORKS["nested"]()
    top = model.get_layer("top")
    with trainable_restored(model):
        set_trainable_alone(model, False)
        top.trainable = False
        assert not any(weight.trainable for weight in top.weights)

    assert model.trainable
    assert all(weight.trainable for weight in top.weights)
