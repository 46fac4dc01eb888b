# wskeeper, and the example services it can stand in front of.
#
#   docker build -t wskeeper .
#   docker run -p 8080:8080 -v wskeeper:/var/lib/wskeeper --name gateway \
#     -v ./wskeeper.yaml:/etc/wskeeper/wskeeper.yaml:ro wskeeper
#   docker exec gateway wskeeper keys create --name alice
#   docker run -p 8080:8080 -v wskeeper:/var/lib/wskeeper -e WSKEEPER_CONFIG= wskeeper \
#     serve --upstream ws://service:9000/ws
#   docker run --entrypoint python wskeeper -m backends.echo --listen 0.0.0.0:9001
#
# Keys are kept in /var/lib/wskeeper; without a volume there they go with the container.
# The admin listener stays on the container's loopback until the configuration gives it a token and
# another address (admin: {listen: 0.0.0.0:8081, token: …}).

FROM python:3.13-slim AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY proxy proxy
COPY backends backends
RUN pip wheel --quiet --no-deps --wheel-dir dist .
RUN python -m venv /opt/wskeeper
# With the extra for tracing, which is off unless the environment asks for it.
RUN /opt/wskeeper/bin/pip install --quiet "$(ls dist/*.whl)[otel]"

FROM python:3.13-slim
LABEL org.opencontainers.image.title="wskeeper" \
      org.opencontainers.image.description="A gateway that puts API keys in front of WebSocket services" \
      org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin wskeeper \
    && install --directory --owner=10001 --mode=0700 /var/lib/wskeeper
COPY --from=build /opt/wskeeper /opt/wskeeper
ENV PATH=/opt/wskeeper/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    WSKEEPER_CONFIG=/etc/wskeeper/wskeeper.yaml \
    WSKEEPER_LISTEN=0.0.0.0:8080 \
    WSKEEPER_STORE=sqlite:/var/lib/wskeeper/wskeeper.db
# A new named volume takes over the directory's owner and mode.
WORKDIR /var/lib/wskeeper
# By number, so that Kubernetes can see that it is not root.
USER 10001
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["wskeeper", "healthcheck"]
ENTRYPOINT ["wskeeper"]
CMD ["serve"]
