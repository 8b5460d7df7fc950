"""Adapters: small factors that change the weights of a model; read from files, and put into its weights."""
