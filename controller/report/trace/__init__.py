"""A trial as a trace for ui.perfetto.dev: predicted and measured tasks on the same emulated clock."""
