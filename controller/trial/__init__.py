"""A field trial: prepared, run, recorded."""
