# syntax=docker/dockerfile:1

# The image that the server runs on. `--build-arg BASE=gcr.io/distroless/cc-debian12:nonroot` has no shell and no package manager.
ARG BASE=debian:bookworm-slim

FROM rust:1.95-slim-bookworm AS build
WORKDIR /build
# Shown by the log and the metrics: `--build-arg GIT_COMMIT=$(git rev-parse --short HEAD)`.
ARG GIT_COMMIT
COPY . .
# The caches live outside the layers, so the binary is copied out of them in the same step.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --locked --profile dist --bin rejoinder \
    && cp target/dist/rejoinder /rejoinder \
    && mkdir --mode=0700 /data

FROM ${BASE}
COPY --from=build /rejoinder /usr/local/bin/rejoinder
COPY --from=build --chown=10001:10001 /data /data

# A number, so that Kubernetes can tell that it is not root.
USER 10001:10001
WORKDIR /data
ENV REJOINDER_LISTEN=0.0.0.0:8080 \
    REJOINDER_DATA_DIR=/data
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/usr/local/bin/rejoinder", "healthcheck"]
# No shell, so that the server itself receives SIGTERM and can finish its turns.
ENTRYPOINT ["/usr/local/bin/rejoinder"]
CMD ["serve"]
