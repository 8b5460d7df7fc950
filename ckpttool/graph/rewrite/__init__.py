"""Rewriting graphs: pure functions that take a graph and give another, without TensorFlow."""
