"""A graph follows surgery on its checkpoint: renamed, dropped, resized and cast variables."""
