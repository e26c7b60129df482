"""Rivals of the label-semantics towers, for the benchmark only: one module each."""
