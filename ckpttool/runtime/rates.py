"""Learning rates of variables: by pattern, by the depth of the layer, or one for all."""

from collections.abc import Sequence

from ckpttool.core.names import layer_of
from ckpttool.runtime.recipe import Recipe


def rates_of(recipe: Recipe, trained: Sequence[str], names: Sequence[str]) -> dict[str, float]:
    """Return the base rate of each trained variable, in graph order; `names` are those of all weights.

    What a pattern says is taken as it is. The others have the recipe's rate, and with a decay per layer the top
    trained layer (the last in graph order) has it, and each one below the decay times the rate of the one above it.

    >>> names = ["h/kernel", "h/bias", "outputs/bias"]
    >>> rates_of(Recipe(lr="outputs/bias=1", lr_decay_per_layer=0.5), names, names)
    {'h/kernel': 0.005, 'h/bias': 0.005, 'outputs/bias': 1.0}

    Raises:
        UnknownName: a pattern takes nothing.
    """
    layers = dict.fromkeys(layer_of(name) for name in reversed(trained))
    depths = {layer: depth for depth, layer in enumerate(layers)}
    decay = recipe.lr_decay_per_layer or 1.0
    rates = {name: recipe.rate * decay ** depths[layer_of(name)] for name in trained}
    said = recipe.rates.of(names) if recipe.rates and recipe.rates.pairs[0][0] else {}
    return {name: said.get(name, rate) for name, rate in rates.items()}
