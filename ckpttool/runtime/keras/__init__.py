"""Keras models: built from their configurations, traced into graphs, and written as Keras files."""
