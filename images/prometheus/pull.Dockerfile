# Prometheus where a registry answers. Where none does, Dockerfile makes it of Debian's packages.
FROM prom/prometheus:v2.53.3
