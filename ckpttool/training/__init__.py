"""A run of training, from what is asked for to what is recorded of it."""
