"""Benchmarks: every number that the project claims, measured and printed (``make bench``)."""
