"""A trial on the terminal while it runs: events → state → lines of text, by pure functions but for ``terminal``."""
