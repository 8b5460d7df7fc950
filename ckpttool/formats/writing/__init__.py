"""Shared code for writing formats: atomic outputs, read back and flushed to disk."""
