# The router. Everything that is installed is pinned by hash.
FROM python:3.12-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/build && python -m venv /opt/podroute
COPY requirements/build.txt requirements/router.txt requirements/
RUN /opt/build/bin/pip install --require-hashes --only-binary :all: -r requirements/build.txt \
    && /opt/podroute/bin/pip install --require-hashes --only-binary :all: -r requirements/router.txt
COPY pyproject.toml README.md LICENSE ./
COPY clients/python/podroute clients/python/podroute
COPY router/podroute_router router/podroute_router
COPY plugins plugins
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
    && /opt/podroute/bin/pip install --no-deps --no-index /wheels/*.whl \
    && /opt/podroute/bin/pip uninstall --yes pip

FROM python:3.12-slim-bookworm
RUN groupadd --system --gid 10001 podroute \
    && useradd --system --uid 10001 --gid podroute --home-dir /var/lib/podroute --create-home podroute
COPY --from=build /opt/podroute /opt/podroute
ENV PATH=/opt/podroute/bin:$PATH PYTHONDONTWRITEBYTECODE=1
USER podroute
# The saved shard map; see router.state_dir.
VOLUME /var/lib/podroute
EXPOSE 50051 9464
HEALTHCHECK --interval=5s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import podroute; podroute.Client('127.0.0.1:50051').wait_until_serving(3)"]
ENTRYPOINT ["podroute"]
CMD ["serve", "--config", "/etc/podroute/podroute.toml"]
