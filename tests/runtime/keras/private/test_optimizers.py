"""Optimizers have their slots without a `fit`."""

from ckpttool.runtime.keras.private.building import variables_without_values
from ckpttool.runtime.keras.private.optimizers import build_optimizer, slots_of
from tests.runtime.keras.networks import keras, layers


def test_optimizers_are_built_for_variables_without_values() -> None:
    with variables_without_values():
        model = keras.Sequential([layers.Input((3,)), layers.Dense(2)])
    for optimizer in (keras.optimizers.Adam(), keras.optimizers.Nadam()):
        build_optimizer(optimizer, model.trainable_variables)

        assert [weight.shape for weight, _ in slots_of(optimizer, "_momentums")] == [(3, 2), (2,)]
