"""Watching trials from outside: Prometheus and Grafana as containers, and how trials are found."""
