"""Search: how much of a model to reuse and to freeze, by trials on the same rows, with the certainty of the answer."""
