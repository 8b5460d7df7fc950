"""Darknet: the weights of a network described by a `.cfg`."""
