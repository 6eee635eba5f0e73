"""Datasets, and how their samples are dealt to UEs."""
