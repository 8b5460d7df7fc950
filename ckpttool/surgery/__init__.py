"""Pure verbs on checkpoints: each takes mappings of tensors and gives a mapping or an answer."""
