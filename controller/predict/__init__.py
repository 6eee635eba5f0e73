"""Pure functions on frozen data: what a plan will take."""
