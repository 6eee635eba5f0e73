"""The mind of the testbed: plan, run, observe."""
