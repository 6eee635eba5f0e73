# Python packages from wheels, without pip and without the wheels: what the agent and the shaper stand on.
# Needs no network.
FROM testbed-base AS install
LABEL io.testbed.stage=install
COPY wheels /wheels
COPY install.sh /
RUN sh /install.sh /wheels /opt/packages

FROM testbed-base
COPY --from=install /opt/packages /opt/packages
ENV PYTHONPATH=/opt/testbed:/opt/packages PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
