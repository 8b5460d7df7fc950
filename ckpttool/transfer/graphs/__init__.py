"""Verbs that rewrite a model's graph: to TensorFlow 2's variables, without its training, for serving, into one file."""
