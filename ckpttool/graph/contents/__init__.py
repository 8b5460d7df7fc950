"""What is in a graph: variables, layers, collections, savers, signatures, constants, and what its ops give."""
