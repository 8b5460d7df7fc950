"""Which tensors and ops of a graph play which part: inputs, labels, logits, loss, accuracy, training op, switches."""
