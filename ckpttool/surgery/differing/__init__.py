"""How two checkpoints differ: measured, as rows and on a page."""
