# syntax=docker/dockerfile:1
# The server alone: the built wheel with its native front end, run as an ordinary user, no build tools in the final image.
#   docker build -t widedeep .
#   docker run --rm -p 8001:8001 -v "$PWD/demo:/models:ro" widedeep
# A volume at /var/cache/widedeep keeps what the server learns about the machine.

ARG PYTHON=3.12-slim

FROM python:${PYTHON} AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY serving serving
COPY export export
RUN pip wheel --no-cache-dir --wheel-dir /wheels '.[native]'

FROM python:${PYTHON}
ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    XDG_CACHE_HOME=/var/cache
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels 'widedeep[native]' \
    && useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin widedeep \
    && install --directory --mode 700 --owner 10001 --group 10001 /var/cache/widedeep
USER 10001:10001
EXPOSE 8001
# The standard gRPC health service; not serving while it loads and while it drains.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["widedeep", "health", "localhost:8001"]
ENTRYPOINT ["widedeep"]
CMD ["serve", "/models"]
