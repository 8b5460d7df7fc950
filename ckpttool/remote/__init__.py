"""Checkpoints at URLs, through fsspec, transparently for formats.

Formats check paths for existence, list files beside them, and read ranges of bytes. A URL is therefore mapped to a
path in a temporary folder, with an empty file in place of each file on the server; `catalogue/local_files.py`
determines which. Readers open files through `sparse_files`, which stores the content in an unnamed file and fetches
missing ranges. A reader that bypassed it would find an empty file and reject it: zeros that were never fetched cannot
be mistaken for weights. Fetched ranges are kept until the process ends, so that each is transferred once.

`paths` converts URLs to paths and back, `servers` wraps fsspec, and `web` implements HTTP with stricter checks.
"""
