"""The curve of a learning rate range test, and its picture."""
