"""Salvaging: readers of damaged files, by format, which return intact tensors, and list the lost ones with reasons."""
