# syntax=docker/dockerfile:1
# The server alone: interpreter, locked packages and the project's wheel; no shell, compiler, pip or training library.
#   docker build -t widedeep .
#   docker build -t widedeep:gpu --build-arg ACCELERATOR=gpu .
#   docker run --rm -p 8001:8001 -p 8002:8002 -v "$PWD/demo:/models:ro" widedeep
# docs/container.md tells the rest: other bases, a bundle baked in, what the image may write, sizes.

# `cpu` or `gpu`.
ARG ACCELERATOR=cpu
# What the server runs on: Python 3.11 or newer and libstdc++. Where it is built: the same Python at the same path, and
# pip (installed by apt where it lacks). Both may be one image, as in BASE=BUILD_BASE=docker.io/library/python:3.12-slim.
ARG BASE=gcr.io/distroless/python3-debian12
ARG BUILD_BASE=docker.io/library/debian:bookworm-slim
# Both of them on GPU machines: CUDA 13 and cuDNN 9, as the locked onnxruntime-gpu needs.
ARG GPU_BASE=docker.io/nvidia/cuda:13.1.1-cudnn-runtime-ubuntu24.04

FROM ${BUILD_BASE} AS build-on-cpu
FROM ${GPU_BASE} AS build-on-gpu

# ---- Build tools, locked too. A pip.conf given as the secret `pip` names another index, for this build alone.
# hadolint ignore=DL3006
FROM build-on-${ACCELERATOR} AS tools
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ONLY_BINARY=:all: PIP_ROOT_USER_ACTION=ignore
# The distribution's own pip, whatever its version: it only unpacks what is locked.
# hadolint ignore=DL3008
RUN python3 -m pip --version || { apt-get update \
    && apt-get install --yes --no-install-recommends python3 python3-pip && rm -rf /var/lib/apt/lists/*; }
RUN --mount=type=bind,source=deploy/image,target=/image \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv --without-pip /opt/tools \
    && python3 -m pip --python /opt/tools/bin/python install --no-cache-dir --no-compile --require-hashes --no-deps \
        --requirement /image/requirements-build.txt

# ---- The wheel, from what .dockerignore lets in.
FROM tools AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY serving serving
COPY export export
RUN python3 -m pip --python /opt/tools/bin/python wheel --no-build-isolation --no-deps --no-index --wheel-dir /dist .

# ---- What the server needs, in the virtual environment that the image carries.
FROM tools AS environment
ARG ACCELERATOR
RUN --mount=type=bind,source=deploy/image,target=/image \
    --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv --without-pip /opt/widedeep \
    && python3 -m pip --python /opt/widedeep/bin/python install --no-cache-dir --no-compile --require-hashes --no-deps \
        --requirement "/image/requirements-${ACCELERATOR}.txt" \
    && python3 /image/strip.py /opt/widedeep \
    && python3 -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/widedeep/lib

# ---- The project, in folders of its own: a layer that is small where the packages stay the same.
FROM environment AS project
ARG ACCELERATOR
RUN --mount=type=bind,from=wheel,source=/dist,target=/dist \
    python3 -m pip --python /opt/widedeep/bin/python install --no-compile --no-deps --no-index --no-warn-script-location \
        --root /staged /dist/*.whl \
    && python3 -m compileall -q --invalidation-mode unchecked-hash -s /staged /staged/opt/widedeep/lib \
    && cp -a /staged/opt/widedeep/. /opt/widedeep/
# What is installed fits together, but for onnxruntime on a GPU, where onnxruntime-gpu stands in for it. Then the SBOM.
RUN --mount=type=bind,source=pyproject.toml,target=/pyproject.toml \
    { python3 -m pip --python /opt/widedeep/bin/python check > /check \
      || { test "${ACCELERATOR}" = gpu && ! grep -v 'requires onnxruntime, which is not installed' /check; } \
      || { cat /check; exit 1; }; } \
    && mkdir -p /staged/usr/share/sbom \
    && /opt/tools/bin/cyclonedx-py environment --pyproject /pyproject.toml --output-reproducible \
        --output-file /staged/usr/share/sbom/widedeep.cdx.json /opt/widedeep/bin/python

# ---- The SBOM as a file: docker build --target sbom --output type=local,dest=build .
FROM scratch AS sbom
COPY --from=project /staged/usr/share/sbom/widedeep.cdx.json /

# ---- What the image stands on.
FROM ${BASE} AS run-on-cpu
FROM ${GPU_BASE} AS run-on-gpu
ENV WIDEDEEP_PROVIDERS=CUDAExecutionProvider
# hadolint ignore=DL3008
RUN python3 --version || { apt-get update \
    && apt-get install --yes --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*; }

# ---- The image. Its base may have no shell.
# hadolint ignore=DL3006
FROM run-on-${ACCELERATOR}
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="widedeep" \
      org.opencontainers.image.description="Inference server for wide-and-deep ensembles" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# numpy's BLAS would start a thread for each of the host's cores; the server computes on threads of its own, as many as
# the cgroup's quota allows.
ENV PATH=/opt/widedeep/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    OPENBLAS_NUM_THREADS=1 \
    ORT_DISABLE_TELEMETRY=1 \
    XDG_CACHE_HOME=/var/cache \
    WIDEDEEP_LOG_FORMAT=json
USER 0:0
COPY --from=environment /opt/widedeep /opt/widedeep
COPY --from=project /staged /
RUN --mount=type=bind,source=deploy/image,target=/image ["python", "/image/finish.py", "/var/cache/widedeep", "10001"]
USER 10001:10001
WORKDIR /tmp
EXPOSE 8001 8002
STOPSIGNAL SIGTERM
# The standard gRPC health service; not serving while it loads and while it drains.
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["widedeep", "health"]
ENTRYPOINT ["widedeep"]
CMD ["serve", "/models"]
