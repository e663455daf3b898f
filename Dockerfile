# The stage in a container. The project's own checks have no Docker daemon: they do not build this image.
FROM python:3.12-slim AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build

# Dependencies change less often than the program, so they have a layer of their own.
COPY requirements-stage.txt requirements-build.txt ./
RUN python -m venv /opt/claimstream \
    && /opt/claimstream/bin/pip install --require-hashes --requirement requirements-stage.txt \
    && pip install --require-hashes --requirement requirements-build.txt

COPY pyproject.toml README.md LICENSE ./
COPY stream stream
COPY models models
COPY config config
COPY schemas schemas
RUN pip wheel --no-deps --no-build-isolation --wheel-dir wheels . \
    && /opt/claimstream/bin/pip install --no-deps wheels/claimstream-*.whl

FROM python:3.12-slim

# By number: Kubernetes cannot see of a name that it is not root's.
RUN groupadd --gid 10001 claimstream && useradd --uid 10001 --gid 10001 --create-home claimstream
COPY --from=build /opt/claimstream /opt/claimstream

USER 10001:10001
WORKDIR /home/claimstream
EXPOSE 8000
# Inside a container the endpoints are reached through its own address, not through loopback.
ENV CLAIMSTREAM_HTTP__HOST=0.0.0.0 PATH=/opt/claimstream/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
HEALTHCHECK --start-period=60s CMD python -c "import urllib.request as r; r.urlopen('http://127.0.0.1:${CLAIMSTREAM_HTTP__PORT:-8000}/healthz', timeout=3)"
ENTRYPOINT ["claimstream"]
CMD ["run"]
