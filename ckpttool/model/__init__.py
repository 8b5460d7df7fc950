"""Models: a graph with its checkpoint, the meaning of a path, and plans of what will be written."""
