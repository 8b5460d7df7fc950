"""Data in memory: arrays, data frames and batches, read, checked and fingerprinted as files of data are."""
