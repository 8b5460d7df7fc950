"""How two checkpoints differ: measured, told in rows and shown on a page."""
