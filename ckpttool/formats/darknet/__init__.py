"""Darknet: the weights of a network that a .cfg describes."""
