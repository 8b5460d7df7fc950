"""PyTorch's files, read without it."""
