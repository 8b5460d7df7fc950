"""Keras's models: built of their configurations, traced into graphs, written as Keras files again."""
