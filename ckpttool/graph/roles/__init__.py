"""Roles of a graph's tensors and ops: inputs, labels, logits, loss, accuracy, training op, switches."""
