"""Data in memory: arrays, data frames and batches, which are read, checked and fingerprinted like data files."""
