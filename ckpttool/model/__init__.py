"""A model: a graph with its checkpoint; what a path means, and the plan of what becomes of it."""
