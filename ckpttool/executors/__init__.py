"""Executors: where the items of a long job are computed: in this process, in processes beside it, on a cluster."""
