# clusterapp in an image: docs/container.md says how to build it, run it, and put
# an application of your own on top of it.

# Any Debian with python3 (3.11 or later) and its venv module will do.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
COPY . .
RUN python3 -m venv /opt/clusterapp \
 && /opt/clusterapp/bin/pip wheel --no-deps --wheel-dir /wheels . \
 && /opt/clusterapp/bin/pip install /wheels/clusterapp-*.whl

FROM ${BASE}
COPY --from=build /opt/clusterapp /opt/clusterapp
# One PATH for the entrypoint, the health check and `pip install` in images on top.
# PORT means every interface; --listen is stronger.
ENV PATH=/opt/clusterapp/bin:$PATH \
    PORT=8080 \
    PYTHONUNBUFFERED=1
# Twisted keeps a cache of its plugins beside them, which only root can write here;
# without it every start would look at each of them anew.
RUN useradd --uid 10001 --user-group --home-dir /app clusterapp \
 && python -c "from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))"
WORKDIR /app
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
# Healthy is what is ready: not while it starts or stops, nor with too few workers.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["clusterctl", "status"]
# The exec form: the master is PID 1, so TERM reaches it and orphans are its own.
ENTRYPOINT ["twistd", "-n", "--pidfile=", "clusterapp"]
