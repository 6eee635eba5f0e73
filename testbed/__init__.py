"""The emulated world: what exists on the machines."""
