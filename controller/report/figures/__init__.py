"""Data → figures: Vega-Lite charts with their data, their words, and their looks on a page and on paper."""
