# The base where a registry answers. Where none does, testbed/images.py makes one from Debian's packages.
FROM python:3.11-slim
