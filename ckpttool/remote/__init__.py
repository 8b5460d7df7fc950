"""Checkpoints at URLs, through fsspec, without a format knowing of it.

Formats ask paths whether a file exists, which files are beside it, and for ranges of bytes. So a URL becomes a
path in a temporary folder, where an empty file takes the place of each that the server has;
`formats/reading/url_files.py` knows which to ask for. Whoever opens a file asks `sparse_files` first, which has the
bytes in a file without a name and fetches those that are not there yet. A reader that did not ask would find an empty
file, and refuse it: zeros that were never fetched cannot pass for weights. What was fetched is kept until the process
ends, so that a second look costs nothing.

`paths` turns URLs into paths and back, `servers` is what speaks to fsspec.
"""
