"""Shared code for reading formats: bytes in files and zips, which are checked before they are trusted."""
