"""Executors compute the items of a long job: in this process, in other processes, or on a cluster."""
