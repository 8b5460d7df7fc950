"""Search: how much of a model to reuse and to freeze, by trials on the same rows, and how sure the answer is."""
