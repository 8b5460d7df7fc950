"""Keras's files of weights."""
