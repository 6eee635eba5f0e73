# Prometheus where a registry answers. Where none does, Dockerfile makes it of Debian's packages.
FROM prom/prometheus:v2.55.1@sha256:2659f4c2ebb718e7695cb9b25ffa7d6be64db013daba13e05c875451cf51b0d3
