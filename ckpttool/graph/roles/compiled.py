"""The loss with which a graph's Keras network was compiled."""

from ckpttool.core.names import listed
from ckpttool.formats.keras.objective import CompiledLoss, compiled_loss, compiled_text
from ckpttool.graph.contents.keras_network import keras_network
from ckpttool.graph.contents.signatures import output_tensors
from ckpttool.graph.core import Graph
from ckpttool.graph.roles.logits import logits_below


def compiled_objective(graph: Graph) -> CompiledLoss | None:
    """Return the loss with which a network was compiled, or None if it has none, or several outputs.

    Also None if `from_logits` contradicts the output, or the output is masked.
    """
    network, outputs = keras_network(graph), output_tensors(graph)
    loss = compiled_loss(network.compiled) if network and not network.lost and not network.masked else None
    if loss is None or len(outputs) != 1:
        return None
    below = logits_below(graph, outputs[0])
    return None if loss.from_logits == (below.activation is not None) else loss


def compiled_note(graph: Graph) -> str:
    """Return the reason, for messages, why a network's compiled loss is not used as the objective; else empty."""
    network, outputs = keras_network(graph), list(dict.fromkeys(output_tensors(graph)))
    text = compiled_text(network.compiled) if network else None
    if network is None or text is None:
        reason = network and network.not_compiled
        return f" (the way it was compiled is not used: {reason})" if reason else ""
    if len(outputs) > 1:
        return f" (it was compiled with {text}: `logits` specifies which of {listed(outputs)} an `objective` is for)"
    if compiled_loss(network.compiled) is None:
        return f" (it was compiled with {text}, which is not a supported objective)"
    if network.masked:
        return (
            f" (it was compiled with {text}, and its output is masked: an `objective` would count the masked steps too)"
        )
    return f" (it was compiled with {text} of other tensors than {listed(outputs)})"
