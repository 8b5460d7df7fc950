"""The contents of a graph: variables, layers, collections, savers, signatures, constants, outputs of ops."""
