"""What formats share that are written: whole or absent, read back, put on the disk."""
