"""Flax: nested dicts of arrays in MessagePack."""
