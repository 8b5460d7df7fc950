"""Graphs as data: ops, variables, layers, closure, cut and rewriting, on the protobuf and without TensorFlow."""
