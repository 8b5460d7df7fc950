"""Weights of other frameworks: pairing them with variables, and converting their layouts."""
