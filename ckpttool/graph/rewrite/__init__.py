"""Rewriting graphs: pure functions from a graph to another one, without TensorFlow."""
